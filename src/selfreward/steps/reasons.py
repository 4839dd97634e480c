"""Reasons for which stages come to nothing: how often each was met, an example, and the field of the recipe that decides it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from selfreward.errors import cut_short
from selfreward.recipe import Recipe
from selfreward.records import Judgment, MetaJudgment, Preference
from selfreward.steps.json_verdicts import holds_object

PROMPT_FIELDS = {
    "writer_failed": "prompts.by", "ran_on": "prompts.max_tokens", "too_short": "prompts.min_words",
    "too_long": "prompts.max_words", "not_for_text": "prompts.unsuited", "not_ascii": "prompts.ascii_only",
    "malformed": "prompts.form", "not_novel": "prompts.max_rouge_l",
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
TIE_FIELDS = {"pairwise": "pairwise.rubric", "votes": "responses.temperature", "likelihood": "responses.temperature",
              "cream": "responses.temperature"}  # fmt: skip
"""Way of scoring → the field that decides whether candidates tie; of judgments `judge.samples`, or `judge.rubric`."""
VOTE_FIELDS = {"no_answer": "judge.answer", "did_not_end": "responses.max_tokens"}
LIKELIHOOD_FIELDS = {"untold": "judge.method", "did_not_end": "responses.max_tokens"}
RANKING_FIELDS = {
    "not_changed": "prompts.max_tokens", "the_same_prompt": "eft.change", "not_answered": "responses.max_tokens",
    "the_same_answer": "responses.temperature", "held_out": "eft.change",
}  # fmt: skip
"""Reason against a ranking that the SFT baseline was to make → the field that decides it."""
LESSON_FIELDS = {
    "judged_alike": "judge.temperature", "fewer_than_two_scored": "judge.samples", "same_strength": "judge_pairs.samples",
    "same_score": "judge_pairs.samples", "too_long": "judge_pairs.max_characters", "thinned": "judge_pairs.commonest",
    "over_share": "judge_pairs.share",
}  # fmt: skip
"""Reason against a pair of judgments → the field that decides it."""
EFT_FIELDS = {
    "disagrees": "eft.tries", "tied": "eft.tries", "targets_disagree": "eft.agree", "all_tied": "data.rankings",
    "thinned": "eft.commonest", "repeated": "eft.commonest",
}  # fmt: skip
ADVICE = {
    "prompts.by": "name another writer", "prompts.form": "change it, or leave it out",
    "judge.pattern": "change it to match the judge's verdicts, or change judge.rubric",
    "judge.form": 'the judge writes JSON: set it to "json" (and judge.field, where the score has another name), or change '
    "judge.rubric",
    "judge.field": "change it to the judge's name for the score, or change judge.rubric",
    "judge.scale": "give the scale that judge.rubric asks for", "judge.max_tokens": "raise it",
    "judge.by": "look at the judge's server or engine, or name another judge", "judge.read": 'set it to "sampled"',
    "judge.samples": 'raise it, or set judge.read = "expected", or have more candidates (responses.n)',
    "judge.min_valid": "lower it, or have more judgments read",
    "responses.max_tokens": "raise it", "responses.temperature": "raise it", "prompts.max_tokens": "raise it",
    "judge.rubric": "change it so that the judge tells answers apart, or teach it more by EFT (data.eft, data.rankings)",
    "judge.temperature": "raise it, or judge.samples",
    "pairwise.rubric": "change it so that the judge decides by what the answers say and not by their order",
    "judge.answer": "change it to match how responses give their answer, or leave it out", "judge.method": "set another",
    "eft.change": "write another, by which prompts come out changed", "judge_pairs.samples": "raise it",
    "judge_pairs.pattern": "change it to match what the meta-judge writes, or judge_pairs.rubric",
    "judge_pairs.max_tokens": "raise it", "judge_pairs.by": 'set it to "consensus"',
    "judge_pairs.max_characters": "raise it", "judge_pairs.commonest": "raise it", "judge_pairs.share": "raise it",
    "judge.agreement": "lower it", "judge.majority": "lower it",
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


def of_judgments(judgments: Collection[Judgment], recipe: Recipe) -> Reason | None:
    """The reason why judgments have no score; None where all have one, or there are none."""
    reason = of_texts(judgments, "scored", JUDGMENT_FIELDS, "the judge wrote")
    if reason is None or reason.field != "judge.pattern":
        return reason
    if recipe.judge.form == "json":
        return reason._replace(field="judge.field")
    unparsed = next(judgment.rationale for judgment in judgments if judgment.label == "unparsed")
    return reason._replace(field="judge.form") if holds_object(unparsed) else reason


def of_preferences(preferences: Iterable[Preference], judge_field: str) -> Reason | None:
    """The reason why comparisons decided nothing; `judge_field` is the recipe's field for the judge."""
    fields = {"unparsed": "pairwise.pattern", "truncated": "pairwise.max_tokens", "error": judge_field}
    return of_texts(preferences, "decided", fields, "the judge wrote")


def of_texts(
    records: Iterable[Judgment] | Iterable[Preference] | Iterable[MetaJudgment], good: str, fields: Mapping[str, str], source: str
) -> Reason | None:
    """The reason why not all `records` are `good`; `fields` by outcome, and `source` before what a model wrote."""
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


def sentences(*parts: str) -> str:
    """The non-empty `parts` as sentences, without the last full stop."""
    return ". ".join(filter(None, parts))


def example_of(reason: str, text: str) -> str:
    """A case of a reason; empty where it has no text."""
    return f"{reason}, for example: {cut_short(text)}" if text.strip() else ""
