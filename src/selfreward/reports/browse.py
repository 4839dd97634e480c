"""A browsable sample of an iteration: prompt → candidates → judgments → the pair, or why there is none; and counts of records."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from markupsafe import escape

from selfreward.recipe import JudgeConfig, Recipe
from selfreward.records import (
    Check,
    JudgePair,
    Judgment,
    Likelihood,
    MetaJudgment,
    Pair,
    Preference,
    Prompt,
    Response,
    Verdict,
    Vote,
    in_pairs,
    quoted,
)
from selfreward.rundir import (
    HELDOUT_CHECKS,
    HELDOUT_RESPONSES,
    JUDGE_PAIRS,
    JUDGMENTS_ADDED,
    LIKELIHOODS,
    LIKELIHOODS_BEFORE,
    LIKELIHOODS_M1,
    META_JUDGMENTS,
    PAIRS,
    PREFERENCES,
    RANKING_JUDGMENTS,
    TRUTH,
    VOTES,
    FolderReader,
)
from selfreward.stats import mean_scores

SHOWN = 30
"""The most prompts shown of an iteration."""
MARKUP = 400
"""Approximate bytes of markup around a text."""


def shown_prompt(prompt: Prompt) -> str:
    """A prompt to be read: its text, and below it the turns before, if any."""
    return f"{prompt.text}\n\nafter\n{quoted(prompt.context)}" if prompt.context else prompt.text


class Remark(NamedTuple):
    """Something else that a model said of a candidate."""

    title: str
    text: str


class Candidate(NamedTuple):
    """A response with all its judgments."""

    response: Response
    score: float | None
    """The score by the recipe's method; None where it has none, or where only the score of the pair's two is recorded."""
    verdict: Verdict | None
    judgments: list[Judgment]
    part: str
    """`chosen`, `rejected` or nothing."""
    remarks: Sequence[Remark] = ()
    below: bool = False
    """True if what its score is made of stands below it: comparisons, likelihoods, or a jury's judgments."""
    named: bool = False
    """True if its judgments were compared, or taught: they are told apart by their ids then."""


class Browsed(NamedTuple):
    """A prompt with its candidates."""

    prompt: Prompt
    candidates: list[Candidate]
    pair: Pair | None
    reason: str
    """The reason for having no pair; empty where there is one, or where pairs are not chosen yet."""

    @property
    def shown(self) -> str:
        """The prompt as it is shown."""
        return shown_prompt(self.prompt)

    @property
    def way(self) -> str:
        """`right`, `equal` or `wrong` by the truth, `untold` without one, `none` where there is no pair."""
        true = {c.part: c.verdict.score for c in self.candidates if c.verdict and c.part}
        if not self.pair:
            return "none"
        if len(true) < 2:
            return "untold"
        chosen, rejected = true["chosen"], true["rejected"]
        return "right" if chosen > rejected else "wrong" if chosen < rejected else "equal"

    @property
    def size(self) -> int:
        """Bytes it takes in the page, roughly."""
        texts = [c.response.text for c in self.candidates] + [j.rationale for c in self.candidates for j in c.judgments]
        thoughts = [record.thought or "" for c in self.candidates for record in (c.response, *c.judgments) if record.thought]
        remarks = [remark.text for c in self.candidates for remark in c.remarks]
        return sum(MARKUP + len(str(escape(text)).encode()) for text in (self.shown, *texts, *thoughts, *remarks))


class Sample(NamedTuple):
    """The shown prompts of one iteration, those with the lowest content ids."""

    name: str
    prompts: int
    """The number of prompts of the iteration."""
    browsed: list[Browsed]

    @property
    def ways(self) -> dict[str, int]:
        """Counts of the shown prompts by `way`."""
        ways = [browsed.way for browsed in self.browsed]
        return {way: ways.count(way) for way in ("right", "equal", "wrong", "untold", "none") if way in ways}


def sample(folder: FolderReader, judge: JudgeConfig, budget: int) -> Sample | None:
    """Up to `SHOWN` prompts of an iteration that fit in `budget` bytes; None before it has candidates."""
    if not folder.responses():
        return None
    prompts = folder.prompts()
    chosen = heapq.nsmallest(SHOWN, prompts, key=lambda prompt: prompt.id)
    return Sample(folder.name, len(prompts), list(_within(_browse(folder, chosen, judge), budget)))


def _within(prompts: Iterator[Browsed], budget: int) -> Iterator[Browsed]:
    for browsed in prompts:
        budget -= browsed.size
        if budget < 0:
            return
        yield browsed


def _browse(folder: FolderReader, prompts: Sequence[Prompt], judge: JudgeConfig) -> Iterator[Browsed]:
    prompt_ids = {prompt.id for prompt in prompts}
    responses, judgments = defaultdict(list), defaultdict(list)
    for response in folder.responses().about("prompt_id", prompt_ids):
        responses[response.prompt_id].append(response)
    response_ids = {response.id for group in responses.values() for response in group}
    for judgment in folder.judgments().about("response_id", response_ids):
        judgments[judgment.response_id].append(judgment)
    verdicts = {verdict.response_id: verdict for verdict in folder.records(TRUTH).about("response_id", response_ids)}
    pairs = {pair.prompt_id: pair for pair in folder.pairs().about("prompt_id", prompt_ids)}
    reasons = {dropped.id: dropped.reason for dropped in folder.dropped(PAIRS.name).about("id", prompt_ids)}
    preferences = list(folder.records(PREFERENCES).about("prompt_id", prompt_ids))
    scores = mean_scores((judgment for group in judgments.values() for judgment in group), judge.min_valid)
    jury = set(judgments) if len(judge.judges) > 1 else set[str]()
    scores = {name: score for name, score in scores.items() if name not in jury}  # a place is no mean of judgments
    parts = (LIKELIHOODS, LIKELIHOODS_BEFORE, LIKELIHOODS_M1)
    likely = [record for part in parts for record in folder.records(part).about("response_id", response_ids)]
    votes = list(folder.records(VOTES).about("response_id", response_ids))
    scores |= {vote.response_id: vote.votes / vote.of for vote in votes}
    below = (
        jury
        | {record.response_id for record in likely}
        | {one for verdict in preferences for one in (verdict.first, verdict.second)}
    )
    battles = list(folder.records(META_JUDGMENTS).about("response_id", response_ids))
    lessons = list(folder.records(JUDGE_PAIRS).about("response_id", response_ids))
    remarks = _remarks(votes, preferences, likely, battles, lessons)
    named = {battle.response_id for battle in battles} | {lesson.response_id for lesson in lessons}
    for judgment in folder.records(JUDGMENTS_ADDED).about("response_id", response_ids):
        judgments[judgment.response_id].append(judgment)
    for check in folder.records(HELDOUT_CHECKS).about("response_id", response_ids):
        remarks[check.response_id].append(Remark(_of_check(check), ""))
    for prompt in prompts:
        pair = pairs.get(prompt.id)
        part = {pair.chosen_id: "chosen", pair.rejected_id: "rejected"} if pair else {}
        if pair and not judge.averages:
            scores |= {pair.chosen_id: pair.chosen_score, pair.rejected_id: pair.rejected_score}
        shown_of = [
            Candidate(
                r, scores.get(r.id), verdicts.get(r.id), judgments[r.id], part.get(r.id, ""), remarks[r.id], r.id in below,
                r.id in named,
            )
            for r in responses[prompt.id]
        ]  # fmt: skip
        yield Browsed(prompt, shown_of, pair, "" if pair else reasons.get(prompt.id, ""))


def _of_check(check: Check) -> str:
    return f"{check.instruction}: {check.label if check.strict is None else 'passed' if check.strict else 'failed'}"


def _remarks(
    votes: Sequence[Vote], preferences: Sequence[Preference], likelihoods: Sequence[Likelihood],
    battles: Sequence[MetaJudgment], lessons: Sequence[JudgePair],
) -> dict[str, list[Remark]]:  # fmt: skip
    """Comparisons by the id of the response that was shown first, battles of two judgments by that of the response judged."""
    remarks = defaultdict(list)
    for vote in votes:
        remarks[vote.response_id].append(Remark(f"{vote.votes} of {vote.of} come to {vote.answer}", ""))
    for likelihood in likelihoods:
        likely = "untold" if likelihood.logprob is None else f"{likelihood.logprob:.2f} nats"
        remarks[likelihood.response_id].append(Remark(f"log-likelihood by {likelihood.model}: {likely}", ""))
    for battle in battles:
        title = f"meta-judge, judgment {battle.first} before {battle.second}: {battle.label}"
        remarks[battle.response_id].append(Remark(title, battle.rationale))
    for lesson in lessons:
        both = ((lesson.chosen_id, lesson.chosen_score), (lesson.rejected_id, lesson.rejected_score))
        better, worse = (f"judgment {judgment} ({score:g})" for judgment, score in both)
        remarks[lesson.response_id].append(Remark(f"the judge is taught {better} over {worse}", ""))
    for preference in preferences:
        verdict = preference.winner or preference.outcome
        remarks[preference.first].append(Remark(f"shown before {preference.second}: {verdict}", preference.rationale))
    return remarks


class Of(NamedTuple):
    """The numbers that the shares of one model are of."""

    answers: int
    """Held-out answers."""
    judgments: int
    """Judgments of held-out ranked responses."""
    perfect: int
    """The number of these responses whose mean score is the highest possible."""
    known: int
    """Pairs that it was trained on both of whose responses have a truth."""


def denominators(folder: FolderReader, recipe: Recipe) -> Of:
    """Counts from the records of a model. Goes over them once."""
    wanted = in_pairs(folder.pairs())
    true = {verdict.response_id for verdict in folder.records(TRUTH).about("response_id", wanted)} if wanted else set[str]()
    known = sum({pair.chosen_id, pair.rejected_id} <= true for pair in folder.pairs())
    judgments = folder.records(RANKING_JUDGMENTS)
    scores = mean_scores(judgments, recipe.judge.min_valid)
    perfect = sum(score == recipe.judge.scale[1] for score in scores.values())
    return Of(len(folder.records(HELDOUT_RESPONSES)), len(judgments), perfect, known)
