"""New prompts, few-shot from the ones there are, through Self-Instruct's filters (paper, section 2.2, step 1).

Template, splitting and filters are those of Self-Instruct (Wang et al. 2022), for tasks that are not classification, but
for this: of a completion only the first task is taken, so that no two prompts come from the same shots; so it is dropped
for running out of length only where that first task did; and a task keeps its capitals (`NASA`) behind the first letter.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from selfreward.errors import SelfRewardError
from selfreward.recipe import PromptsConfig, held_by
from selfreward.records import Checkpoint, Completion, Conversed, Dropped, Prompt, Proposal, Request, content_id, read_jsonl
from selfreward.stats import WORD, WORD_OF_ANY_SCRIPT, Novelty, count_words
from selfreward.steps.gaps import why_none
from selfreward.steps.seed import known_by, learnt_from
from selfreward.steps.speaker_words import ANSWERS, SOLUTIONS
from selfreward.steps.turns import own_turn

HEADER = "Come up with a series of tasks:"
# In all of these, what is taken in is not gone back over (`*+`), and a run of blank lines and marks is entered at its first
# character alone: writers repeat themselves without end.
OWN_NUMBER = re.compile(r"\A[\s*#]*+\d++\s?\.\**+(?=\s)")
"""The number that the list left open, which chat models write again."""
NEXT_ITEM = re.compile(r"(?<![\s*#])((?:[^\S\n]|[*#])*+)\n[\s*#]*+\d++\s?\.(?=[\s*]|\Z)")
"""The end of the requested task, where the writer begins the next one; the group is still on the line before."""
OWN_ANSWER = re.compile(
    r"(?<![\s*#>])((?:[^\S\n]|[*#>])*+)\n[\s*#>]*+(?:"
    r"(?:(?:the|my|sample|possible|suggested|correct)[ \t]++)*+(?:answer|response|output|solution|assistant)[*]*+\s*+[:：]"
    rf"|(?:{ANSWERS}|{SOLUTIONS})[*]*+\s*+[:：]|[【\[]{ANSWERS}[】\]])"
    r"|(?<!\s)[^\S\n]*+\n\s*+(?:[-=*#~—]{3}|(?:[-*][ \t]++){2}[-*]|_{3,}+[ \t]*+(?=\n|\Z))"
    rf"|(?:(?<=[.?!؟।۔])[ \t]++|(?<=[。？！]))[*]*+(?:answer|response|solution|{ANSWERS}|{SOLUTIONS})[*]*+\s*+[:：]",
    re.IGNORECASE,
)
"""The place where the writer begins to answer itself: a separator, or a word for what follows (paper, appendix A.5). The group,
where there is one, is still on the line before."""


def plan_prompts(
    seeds: Sequence[Prompt], written: Sequence[Prompt], config: PromptsConfig, model: Checkpoint, seed: int, iteration: int
) -> list[Request]:
    """Requests for new prompts, each with its own shots: from `seeds`, and from those `written` in earlier iterations.

    A later turn of a conversation is no shot, for read alone it is no task.
    """
    requests, seeds = [], [prompt for prompt in seeds if prompt.stands_alone]
    for index in range(config.per_iteration):
        rng = random.Random(f"{seed} {iteration} {index}")
        shots = _shots(seeds, written, config, rng)
        lines = [f"{number}. {' '.join(prompt.text.split()).rstrip(':')}" for number, prompt in enumerate(shots, start=1)]
        text = "\n".join([HEADER, *lines, f"{len(shots) + 1}."])
        about = content_id("shots", [prompt.id for prompt in shots])
        requests.append(Request.user_turn(about, index, text, config.sampling, model, seed))
    return requests


def _shots(seeds: Sequence[Prompt], written: Sequence[Prompt], config: PromptsConfig, rng: random.Random) -> list[Prompt]:
    own = rng.sample(written, min(config.shots_self, len(written)))
    seed_shots = rng.sample(seeds, min(config.shots_seed + config.shots_self - len(own), len(seeds)))
    shots = seed_shots + own
    rng.shuffle(shots)
    return shots


def read_proposal(request: Request, completion: Completion) -> Proposal:
    """The writer's text, uncut."""
    return Proposal(request_id=request.id, text=completion.text, finish=completion.finish)


def choose_prompts(
    proposals: Iterable[Proposal],
    seeds: Sequence[Prompt],
    accepted: Sequence[Prompt],
    heldout: Sequence[Prompt],
    config: PromptsConfig,
) -> tuple[list[Prompt], list[Dropped]]:
    """The proposals that are new and fit to be asked, and the others with the first reason against each.

    Near is measured against all seeds and everything accepted, in earlier iterations (`accepted`) and in this one.
    """
    word = WORD if config.ascii_only else WORD_OF_ANY_SCRIPT
    novelty = Novelty([prompt.text for prompt in (*seeds, *accepted)], config.max_rouge_l, word)
    forbidden = {known_by(prompt.asked) for prompt in heldout}
    kept, dropped = [], []
    for proposal in proposals:
        text = cut(proposal.text)
        reason = unfit(text, proposal, config) or ("held_out" if known_by(text) in forbidden else None)
        if not reason and not novelty.add(text):
            reason = "not_novel"
        if reason:
            dropped.append(Dropped(id=proposal.id, stage="prompts", reason=reason))
        else:
            kept.append(Prompt(text=text, source="self"))
    return kept, dropped


def take_prompts(
    config: PromptsConfig, t: int, heldout: Sequence[Conversed], anchors: bool = False
) -> tuple[list[Prompt], list[Dropped]]:  # fmt: skip
    """M_t's part of the user's own prompt file; repeated and held-out ones are dropped.

    With `anchors` those that carry checks are dropped too, for they are watched and never trained on. Raises `SelfRewardError`
    where none is left.
    """
    file, first = str(config.source), (t - 2) * config.per_iteration
    with held_by("prompts.from", file):
        mine = _own(Path(file))[first : first + config.per_iteration]
    if not mine:
        what = f"has no prompts left for M{t}, which takes {config.per_iteration} from number {first + 1} on"
        raise SelfRewardError(what, file, "Add prompts, or lower prompts.per_iteration or iterations")
    forbidden, ids, kept, dropped = {known_by(prompt.asked) for prompt in heldout}, set[str](), [], []
    for prompt in mine:
        reason = "held_out" if not forbidden.isdisjoint(learnt_from(prompt)) else "repeated" if prompt.id in ids else None
        reason = reason or (None if prompt.text.strip() else "empty")
        reason = reason or ("anchor" if anchors and prompt.checks else None)
        if reason:
            dropped.append(Dropped(id=prompt.id, stage="prompts", reason=reason))
        else:
            kept.append(prompt)
        ids.add(prompt.id)
    if not kept:
        gap = why_none(dropped, "prompts.from", {prompt.id: prompt.text for prompt in mine})
        raise gap.error(f"has no prompt for M{t}", file, "")
    return kept, dropped


def _own(file: Path) -> list[Prompt]:
    """The prompts of a file. Raises `SelfRewardError`, which shows a line of such a file."""
    try:
        return read_jsonl(file, Prompt)
    except SelfRewardError as error:
        if not isinstance(error.__cause__, ValidationError):
            raise
        now = 'Give an object a line, such as {"text": "Name a bird.", "source": "seed"}'
        raise SelfRewardError(error.what, error.where, now) from error


def cut(text: str) -> str:
    """The first task in the writer's text: up to the next number, or to where it begins to answer itself."""
    task = " ".join(_asked(text).split()).removesuffix("**")
    return task[:1].upper() + task[1:]


def _asked(text: str) -> str:
    return _before(OWN_ANSWER, own_turn(_before(NEXT_ITEM, OWN_NUMBER.sub("", text))))


def _before(pattern: re.Pattern[str], text: str) -> str:
    """`text` up to the first match, the line with the group included."""
    match = pattern.search(text)
    return text[: max(match.start(), match.end(1))] if match else text


def unfit(text: str, proposal: Proposal, config: PromptsConfig) -> str | None:
    """The reason not to ask a prompt, or None."""
    words, lower = count_words(text), text.lower()
    went_on = _asked(proposal.text) != OWN_NUMBER.sub("", proposal.text)
    checks = {
        "writer_failed": proposal.finish == "error",
        "ran_on": proposal.finish == "length" and not went_on,
        "too_short": words < config.min_words,
        "too_long": words > config.max_words,
        "not_for_text": any(re.search(rf"(?<!\w){re.escape(word.lower())}(?!\w)", lower) for word in config.unsuited),
        "program": lower.startswith("write a program"),
        "punctuation_first": text[:1] in string.punctuation,
        "not_ascii": config.ascii_only and not text[:1].isascii(),
        "malformed": config.form is not None and re.fullmatch(config.form, text, re.IGNORECASE) is None,
    }
    return next((reason for reason, applies in checks.items() if applies), None)
