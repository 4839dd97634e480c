"""The reason why a stage yields nothing: the commonest one, an example of it, and the field of the recipe that decides it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from selfreward.errors import NoPairs, SelfRewardError, cut_short
from selfreward.recipe import BEST_AGAINST_WORST, Recipe
from selfreward.records import Dropped, Identified, Iteration, Judgment, Preference, Proposal, iter_jsonl
from selfreward.rundir import PAIRS, PROMPTS, PROPOSED, ModelFolder

PROMPT_FIELDS = {
    "writer_failed": "prompts.by", "ran_on": "prompts.max_tokens", "too_short": "prompts.min_words",
    "too_long": "prompts.max_words", "not_for_text": "prompts.unsuited", "not_ascii": "prompts.ascii_only",
    "malformed": "prompts.form", "not_novel": "prompts.max_rouge_l", "held_out": "data.heldout_prompts",
    "repeated": "prompts.from", "anchor": "judge.checks",
}  # fmt: skip
"""Reason against a new prompt → the field that decides it; `prompts.by`, the writer itself, for other reasons."""
JUDGMENT_FIELDS = {
    "unparsed": "judge.pattern", "off_scale": "judge.scale", "no_logprobs": "judge.read", "truncated": "judge.max_tokens",
    "error": "judge.by",
}  # fmt: skip
PAIR_FIELDS = {
    "tie": "judge.samples", "same_text": "responses.temperature", "all_ran_out_of_length": "responses.max_tokens",
    "likely_fluke": "pairs.max_fluke", "fewer_than_two_scored": "judge.min_valid",
    "jury_disagrees": "judge.agreement", "no_majority": "judge.majority",
}  # fmt: skip
"""Reason against a pair → the field that decides it; `pairs.policy` for other reasons."""
EFT_FIELDS = {
    "disagrees": "eft.tries", "tied": "eft.tries", "targets_disagree": "eft.agree", "all_tied": "data.rankings",
    "thinned": "eft.commonest", "repeated": "eft.commonest",
}  # fmt: skip
ADVICE = {
    "prompts.by": "name another writer", "prompts.form": "change it, or leave it out", "prompts.from": "give other prompts",
    "judge.pattern": "change it to match the judge's verdicts, or change judge.rubric",
    "judge.field": "change it to the judge's name for the score, or change judge.rubric",
    "judge.scale": "give the scale that judge.rubric asks for", "judge.max_tokens": "raise it",
    "judge.by": "look at the judge's server or engine, or name another judge", "judge.read": 'set it to "sampled"',
    "judge.samples": 'raise it, or set judge.read = "expected"', "judge.min_valid": "lower it, or have more judgments read",
    "responses.max_tokens": "raise it", "responses.temperature": "raise it", "prompts.max_tokens": "raise it",
    "judge.checks": 'set it to "measure", or give prompts without checks', "judge.agreement": "lower it",
    "judge.majority": "lower it",
    "pairs.max_fluke": "raise it, or judge.samples", "pairs.policy": "name another",
    "eft.tries": 'raise it, or set eft.agree = "mean", or give more ranked sets', "eft.agree": 'set it to "one"',
    "eft.commonest": "raise it", "data.rankings": "give sets that people rank apart",
    "pairwise.pattern": "change it to match what the judge writes, or pairwise.rubric", "pairwise.max_tokens": "raise it",
    "measure.judge": "look at its server or engine, or name another judge",
    "select.judge": "look at its server or engine, or name another judge",
}  # fmt: skip
"""Field → advice about it; "change it" for other fields."""


class Reason(NamedTuple):
    """The reason why most of a stage came to nothing."""

    counts: str
    """The count of each reason, the commonest first."""
    example: str
    """A case of the commonest, in words."""
    field: str
    """The field of the recipe that decides it."""

    @property
    def told(self) -> str:
        """Counts and example."""
        return f"{self.counts}. {self.example}" if self.example else self.counts

    @property
    def now(self) -> str:
        """The advice for an error."""
        return f"{self.field} decides it: {ADVICE.get(self.field, 'change it')}"


def counted(counts: Mapping[str, int]) -> str:
    """`unparsed 30, truncated 2`: the commonest first, equals by name."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def commonest(counts: Mapping[str, int]) -> str:
    """The commonest, of several the first by name."""
    return min(counts, key=lambda name: (-counts[name], name))


def of_judgments(judgments: Iterable[Judgment], recipe: Recipe) -> Reason | None:
    """The reason why judgments have no score; None where all have one, or there are none."""
    reason = _of_texts(judgments, "scored", JUDGMENT_FIELDS, "the judge wrote")
    if reason and reason.field == "judge.pattern" and recipe.judge.form == "json":
        return reason._replace(field="judge.field")
    return reason


def of_preferences(preferences: Iterable[Preference], judge_field: str) -> Reason | None:
    """The reason why comparisons decided nothing; `judge_field` is the recipe's field for the judge."""
    fields = {"unparsed": "pairwise.pattern", "truncated": "pairwise.max_tokens", "error": judge_field}
    return _of_texts(preferences, "decided", fields, "the judge wrote")


def _of_texts(
    records: Iterable[Judgment] | Iterable[Preference], good: str, fields: Mapping[str, str], source: str
) -> Reason | None:
    counts, texts = Counter[str](), dict[str, str]()
    for record in records:
        counts[record.label] += 1
        texts.setdefault(record.label, record.rationale)
    failed = {name: count for name, count in counts.items() if name != good}
    if not failed:
        return None
    worst = commonest(failed)
    example = f"{worst}, for example: {source} {cut_short(texts[worst])}" if worst != "error" else ""
    return Reason(counted(counts), example, fields[worst])


def require_pairs(iteration: Iteration, it: ModelFolder, recipe: Recipe) -> None:
    """Raises `NoPairs` where `iteration` has nothing to train on, with the stage at fault and the reason."""
    if iteration.pairs:
        return
    if not iteration.prompts:
        raise _no_prompts(iteration, it, recipe)
    if not any(response.answered for response in iteration.responses):
        raise _no_answers(iteration, it, recipe)
    raise _no_pairs(iteration, it, recipe)


def _no_prompts(iteration: Iteration, it: ModelFolder, recipe: Recipe) -> NoPairs:
    source = recipe.prompts.source
    reasons, ids = _dropped(it, PROMPTS.name)
    worst = commonest(reasons) if reasons else ""
    example = "" if source else _first(iter_jsonl(it.path / f"{PROPOSED.name}.jsonl", Proposal), ids.get(worst), lambda p: p.text)
    field = PROMPT_FIELDS.get(worst, "prompts.by")
    reason = Reason(counted(reasons), f"{worst}, for example: {cut_short(example)}" if example else "", field)
    of = f"the {iteration.proposals:,} that the writer wrote" if not source else f"the prompts from {source}"
    failed = _failed(it, PROPOSED.name)
    where = str(it.path / f"{PROMPTS.name}.dropped.jsonl")
    more = f". {reason.example}{failed}" if reason.example or failed else ""
    return NoPairs(
        f"no usable pair (no prompts: {reason.counts or 'none came'}) of {of}{more and f'. {more}'}", where, reason.now
    )


def _no_answers(iteration: Iteration, it: ModelFolder, recipe: Recipe) -> NoPairs:
    what = f"none of the {len(iteration.responses):,} requests for responses was answered{_failed(it, 'responses')}"
    return NoPairs(what, str(it.path / "responses.jsonl"), "Correct what it names, such as base or backend in the recipe")


def _no_pairs(iteration: Iteration, it: ModelFolder, recipe: Recipe) -> NoPairs:
    reasons, ids = _dropped(it, PAIRS.name)
    worst = commonest(reasons)
    unscored = of_judgments(iteration.judgments, recipe) if worst == "fewer_than_two_scored" else None
    where = str(it.path / f"{PAIRS.name}.dropped.jsonl")
    if unscored:
        none = "no judgment" if not any(judgment.score is not None for judgment in iteration.judgments) else "too few judgments"
        what = f"no usable pair ({counted(reasons)}), for {none} could be read: {unscored.told}"
        return NoPairs(what + _failed(it, "judgments"), str(it.path / "judgments.jsonl"), unscored.now)
    field = PAIR_FIELDS.get(worst, "pairs.policy" if recipe.pairs.policy != BEST_AGAINST_WORST else "judge.samples")
    example = _first(iteration.prompts, ids.get(worst), lambda prompt: prompt.text)
    reason = Reason(counted(reasons), f"{worst}, for example: the answers to {cut_short(example)}", field)
    return NoPairs(f"no usable pair ({reason.counts}). {reason.example}", where, reason.now)


def no_eft(judgments: Iterable[Judgment], it: ModelFolder, recipe: Recipe) -> SelfRewardError:
    """The error where the SFT baseline makes no EFT example from people's rankings."""
    reasons, _ = _dropped(it, "eft")
    worst = commonest(reasons) if reasons else "unparsed"
    unread = of_judgments(judgments, recipe) if worst == "unparsed" else None
    if unread:
        what = f"no EFT example could be made ({counted(reasons)}): of its judgments {unread.told}"
        return SelfRewardError(what + _failed(it, "eft_judgments"), str(it.path / "eft_judgments.jsonl"), unread.now)
    reason = Reason(counted(reasons), _first_judged(judgments), EFT_FIELDS.get(worst, "data.rankings"))
    what = f"the SFT baseline agrees with people on no ranked set ({reason.counts}). {reason.example}"
    return SelfRewardError(what, str(it.path / "eft_judgments.jsonl"), reason.now)


def _first_judged(judgments: Iterable[Judgment]) -> str:
    first = next((judgment for judgment in judgments if judgment.score is not None), None)
    return f"One judgment, for example: {cut_short(first.rationale)}" if first else ""


def _dropped(it: ModelFolder, stage: str) -> tuple[Counter[str], dict[str, str]]:
    """The count of each reason in a finished stage, and the id of a record that was dropped for it."""
    reasons, ids = Counter[str](), dict[str, str]()
    for drop in iter_jsonl(it.path / f"{stage}.dropped.jsonl", Dropped):
        reasons[drop.reason] += 1
        ids.setdefault(drop.reason, drop.id)
    return reasons, ids


def _first(records: Iterable[Identified], wanted: str | None, text: Callable[..., str]) -> str:
    """The text of the record with this id."""
    return next((text(record) for record in records if record.id == wanted), "")


def _failed(it: ModelFolder, stage: str) -> str:
    """The commonest reason that an engine gave for failing in a stage, in words; empty where it gave none."""
    reasons = it.facts(stage).get("failed", {})
    return f"; most requests failed with: {cut_short(commonest(reasons))}" if reasons else ""
