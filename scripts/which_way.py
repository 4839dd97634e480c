"""Writes docs/which-way.md: for each way of learning a sentence, what it did in the study, its price, and when not to take it.

The figures are those of docs/results/methods.json, and of methods-learnt-out.json beside it, so that the page is written anew
whenever the study is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from selfreward.errors import amount
from selfreward.lab.micro.compared import ENOUGH

DOCS = Path(__file__).parents[1] / "docs"
PAGE, FIGURES, LEARNT = DOCS / "which-way.md", DOCS / "results" / "methods.json", DOCS / "results" / "methods-learnt-out.json"
HEAD = """# Which way of learning?

Written by `scripts/which_way.py`, with the figures of [the study](results/methods.md): a world with a truth (`micro-hard`), a
model of a million parameters, one budget of tokens, {seeds} seeds or as many as stand beside a figure. *Answers* is what the true
score gains from M1 to the last model, of 5 points; *judging* what pairwise accuracy gains on held-out rankings; each with its
95 % interval, which with fewer than five seeds is too narrow. *Where all is read*: pairwise accuracy of M1 and of the last
model on the rankings of which all judgments of both can be read, for much of what judging gains or loses is whether a judgment
ends in a score. For comparison: {controls}.

What holds for so small a model need not hold for yours, and no method was tuned here beyond what the study says.
`selfreward check` tells the price of each on your recipe; held-out rankings (`data.heldout_rankings`) tell whether the judge gets
better or worse, whatever you take.

## In short

- Begin with plain self-rewarding: {self}. {worse}
- {rises}
- Where M1 has read EFT three times as often, and learnt all of it ([learnt out](results/methods-learnt-out.md)): {learnt}.
- Take another for the reason that it names below, and not for its figure alone.
"""
WORSE = "The judge got worse meanwhile; whether yours does, measure."
RISES = "Both axes rise, by intervals without zero, for {names}: {told}."
NONE = "No method that has been run lifts both axes by intervals without zero."
CONTROLS = {"truth": "the truth for a judge", "sft": "more SFT in place of DPO", "shuffled": "shuffled scores"}
"""Arms of the study that are no way of learning."""


class Way(NamedTuple):
    """A way of learning."""

    title: str
    section: str
    """Its section in methods.md; empty for the paper's own loop."""
    arms: tuple[str, ...]
    """Its arms in the study."""
    what: str
    price: str
    not_when: str


MORE = "Other losses, weights, averaged checkpoints"
WAYS = [
    Way(
        "Plain self-rewarding", "", ("self",),
        "The paper's loop: M_t answers its own prompts, judges the answers, and learns best against worst by DPO.",
        "N candidates and N·K judgments of a prompt, the measure of all others.",
        "the judge gets worse from model to model, or cannot tell your answers apart to begin with.",
    ),
    Way(
        "Rehearse EFT", "EFT rehearsed in every DPO", ("rehearse",),
        "Each step of DPO also reads some of the examples that judging was learnt from, and learns them by their likelihood.",
        "`rehearse` examples a step, read and learnt; nothing is asked or labelled.",
        "there is no EFT, or its judgments are worse than your model's by now: it is pulled back to them. In the study M1 had not"
        " learnt all that EFT teaches (more SFT, above); where it had, judging held rather than rose.",
    ),
    Way(
        "A likelihood term", MORE, ("nll",),
        "The chosen answer's likelihood is learnt beside the pair (`dpo.nll_weight`), so that DPO does not lower it.",
        "none.",
        "you want a better judge: by itself it taught no judging. It belongs to pairs of judgments, which share most words.",
    ),
    Way(
        "Consensus of the judge's samples", "Learning to judge: pairs of judgments",
        ("consensus", "consensus+nll", "consensus+replay"),
        "Of K judgments of an answer, the one nearest their mean is learnt against the one farthest from it: no label.",
        "none for `samples` up to K; more judgments of one answer a prompt above, 8 with `nll` here.",
        "`dpo.nll_weight` is 0 (judgments then lose their form), or most samples make the same mistake, which it confirms.",
    ),
    Way(
        "EFT replayed as pairs", "Learning to judge: pairs of judgments", ("replay", "replay+nll"),
        "M_t judges EFT's examples anew, and learns EFT's judgment against its own that is farthest from it.",
        "`replay` judgments of each example in an iteration.",
        "EFT is small: M_t misjudges few of its examples. To rehearse them is simpler.",
    ),
    Way(
        "Meta-Rewarding", "Learning to judge: pairs of judgments", (),
        "M_t compares its own judgments two by two, as a meta-judge, and learns the strongest against the weakest.",
        "K(K − 1) questions a prompt of two judgments each.",
        "the model cannot compare two judgments: its paper shows a meta-judge that soon prefers the higher score.",
    ),
    Way(
        "Temporal pairs", "Candidates of an earlier and a later model", ("temporal", "temporal-past"),
        "The rejected answer may come from M1, and the chosen one from a model that is trained ahead and thrown away.",
        "N candidates and N·K judgments a prompt for each of the two, and a second DPO for the model ahead.",
        "tokens are dear, or drift of style is: M1's answers are far from M_t's for more reasons than being worse.",
    ),
    Way(
        "Scores by likelihood", "Scores by likelihood", ("likelihood", "cream"),
        "An answer's score is how much likelier the model finds it than an earlier one did (DICE, CREAM): no judge is asked.",
        "2N answers read, nothing sampled for judging.",
        "what DPO has taught so far may be wrong: such scores repeat it.",
    ),
    Way(
        "Less trust in doubtful pairs", MORE, ("consistency",),
        "The loss trusts the order of pairs as far as the judge and the one before it rank alike (`dpo.confidence`).",
        "N·K judgments more by the judge before.",
        "judges agree in their mistakes, as neighbours in one loop do.",
    ),
    Way(
        "Votes", "Votes", ("votes",),
        "A response's score is the share of its prompt's candidates that come to the same answer: no judge is asked.",
        "candidates alone; 8 rather than 4.",
        "answers cannot be compared as wholes, or the commonest is often wrong.",
    ),
    Way(
        "A jury", "A jury", ("jury", "jury-agreeing"),
        "Several judges rank each prompt's candidates, and the mean rank, or their agreement, decides.",
        "N·K judgments for every judge.",
        "the jurors are one model at two ages: they share their mistakes. A juror from outside is worth more.",
    ),
    Way(
        "Candidates compared with each other", "Candidates compared with each other", (),
        "The judge reads two answers at a time, in both orders, and the share of wins is the score.",
        "N(N − 1) comparisons in place of N·K judgments.",
        "the model prefers whatever stands first: look at how often verdicts change with the order.",
    ),
    Way(
        "Many small iterations", "Many small iterations", ("semi-online",),
        "The same pairs in small portions, each from the model as it is by then (semi-online DPO).",
        "none in tokens; each portion loads and trains a model.",
        "a model takes long to load, or you want to look at each one.",
    ),
    Way(
        "Averaged checkpoints", MORE, ("average",),
        "The model is the mean of the last checkpoints' weights.",
        "some models on disk while a training lasts.",
        "you choose among checkpoints (`[select]`), or train adapters.",
    ),
    Way(
        "Other losses", MORE, ("ipo", "sigmoid_norm", "hinge", "apo_zero", "sppo_hard", "exo_pair", "robust"),
        "One of TRL's losses in place of DPO's, by TRL's name.",
        "none.",
        "you have no held-out figure that tells you which is better: β and learning rate would have to be tuned for each.",
    ),
    Way(
        "EFT without people", "EFT without people", (),
        "The baseline writes a worse answer to a changed prompt, and judgments that agree with this order become EFT.",
        "two short completions a prompt, and the judgments that EFT takes anyway.",
        "people's rankings are at hand, or your base is too weak to change a prompt.",
    ),
]  # fmt: skip


def page(figures: Mapping[str, Any], learnt: Mapping[str, Any]) -> str:
    """The whole page, from the study's figures and those of the arms that began from an M1 that had `learnt` all of EFT."""
    arms: Mapping[str, Any] = figures["arms"]
    controls = "; ".join(f"{called}: {gains(arms[name])}" for name, called in CONTROLS.items() if name in arms)
    rising = [name for name, arm in arms.items() if name not in CONTROLS and both_rise(arm)]
    told = "; ".join(gains(arms[name]) + where_read(arms[name]["read_whole"]) for name in rising)
    head = HEAD.format(
        seeds=max(len(arm["seeds"]) for arm in arms.values()), controls=controls, self=gains(arms["self"]),
        worse=WORSE if arms["self"]["judging_gain"]["high"] < 0 else "",
        rises=RISES.format(names=", ".join(f"`{name}`" for name in rising), told=told) if rising else NONE,
        learnt="; ".join(f"`{name}`, {_seeds(arm)}: {gains(arm)}" for name, arm in learnt["arms"].items()),
    )  # fmt: skip
    return "\n".join([head, *(line for way in WAYS for line in _of(way, arms))]).rstrip() + "\n"


def both_rise(arm: Mapping[str, Any]) -> bool:
    """True if both axes of an arm rise, by intervals without zero, on seeds enough."""
    return len(arm["seeds"]) >= ENOUGH and all(arm[axis]["low"] > 0 for axis in ("true_gain", "judging_gain"))


def gains(arm: Mapping[str, Any]) -> str:
    """The gains of an arm on both axes, with their intervals, in words."""
    true, judging = (arm[axis] for axis in ("true_gain", "judging_gain"))
    answers = f"answers {true['value']:+.2f} ({true['low']:+.2f} to {true['high']:+.2f})"
    return f"{answers}, judging {judging['value']:+.3f} ({judging['low']:+.3f} to {judging['high']:+.3f})"


def where_read(read: Mapping[str, Any]) -> str:
    """Pairwise accuracy where all judgments can be read; empty where there is no such ranking."""
    if read["last"] is None:
        return ""
    return f" (where all is read, {read['share']:.0%} of the rankings, {read['first']:.3f} → {read['last']:.3f})"


def _of(way: Way, arms: Mapping[str, Any]) -> Iterator[str]:
    link = f" ([how](methods.md#{_anchor(way.section)}))" if way.section else ""
    yield from (f"## {way.title}", "", f"{way.what}{link}", "")
    yield from (f"- {line}" for line in _measured(way, arms))
    yield from (f"- Price: {way.price}", f"- Not when {way.not_when}", "")


def _measured(way: Way, arms: Mapping[str, Any]) -> Iterator[str]:
    """A line for each arm that was run, and one for those that were not."""
    plain = sum(arms["self"]["spent"].values()) if "self" in arms else 0
    for name in filter(arms.__contains__, way.arms):
        share, read = sum(arms[name]["spent"].values()) / plain, where_read(arms[name]["read_whole"])
        yield f"`{name}`, {amount(len(arms[name]['seeds']), 'seed')}: {gains(arms[name])}{read}, with {share:.0%} of the tokens."
    missing = [name for name in way.arms if name not in arms]
    if missing:
        yield f"Not run yet, so that nobody here knows what it gains: {', '.join(f'`{name}`' for name in missing)}."
    if not way.arms:
        yield "This world cannot try it, for its base never read two texts at once, nor changed a prompt."


def _seeds(arm: Mapping[str, Any]) -> str:
    return amount(len(arm["seeds"]), "seed")


def _anchor(title: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return "".join(letter for letter in title.lower().replace(" ", "-") if letter.isalnum() or letter in "-_")


if __name__ == "__main__":
    PAGE.write_text(page(*(json.loads(file.read_text(encoding="utf-8")) for file in (FIGURES, LEARNT))), encoding="utf-8")
    print(f"wrote {PAGE}")
