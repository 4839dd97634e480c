"""Two models on the same prompts before a judge, in both orders (paper, section 3.1)."""

from __future__ import annotations

from collections import Counter
from functools import cached_property

from selfreward.measure.evaluations.base import Trial, counted, lengths, some
from selfreward.measure.evaluations.breakdown import Labelled, break_down
from selfreward.recipe import ModelName, PairwiseConfig, SourceConfig
from selfreward.records import Comparison, Dropped, Figure, Findings, Preference, Prompt, Side, content_id, digest
from selfreward.rundir import PROMPTS, Part
from selfreward.steps import KeptAndDropped, PairwiseJudge, combine, flip_rate, load_prompts

PREFERENCES = Part("preferences", "asks", Preference)
WORTH: dict[Side, float] = {"a": 1.0, "tie": 0.5, "b": 0.0}


class Contest(Labelled):
    """Head-to-head."""

    against: ModelName
    """The model to compare with."""
    data: SourceConfig
    """The prompts."""
    skip_bad_rows: bool = False
    """Count and list rows that do not fit their format, where they would be an error."""
    pairwise: PairwiseConfig = PairwiseConfig()
    """The comparison of two answers."""

    @cached_property
    def prompts(self) -> KeptAndDropped[Prompt]:
        """The prompts without repetitions, and the dropped rows."""
        kept, dropped = load_prompts(self.data, "prompts", self.seed, self.skip_bad_rows)
        times = Counter(prompt.id for prompt in kept)
        again = [Dropped(id=name, stage="prompts", reason="repeated") for name, count in times.items() for _ in range(count - 1)]
        return list({prompt.id: prompt for prompt in kept}.values()), dropped + again

    @cached_property
    def compared(self) -> PairwiseJudge:
        """The rubric and its parser."""
        return PairwiseJudge(self.pairwise)

    def load(self) -> object:
        """Read prompts, rubric and labels."""
        return some(self.prompts, self.data), self.compared, self.labels_given

    def find(self, trial: Trial) -> Findings:
        """Both models answer, the judge compares."""
        prompts = trial.at.keep(PROMPTS, self.prompts)
        ours = trial.answers("responses", prompts, self, trial.model)
        theirs = trial.answers("rival_responses", prompts, self, trial.rival)
        pairs = [(prompt, a, b) for prompt, a, b in zip(prompts, ours, theirs, strict=True) if a.answered and b.answered]
        preferences = list(trial.at.ask(PREFERENCES, self.compared, pairs, trial.judge))
        comparisons = combine(preferences)
        winners = {comparison.prompt_id: comparison.winner for comparison in comparisons}
        worth = [WORTH.get(winners.get(prompt.id, "none")) for prompt in prompts]
        return Findings(
            prompts_digest=digest(prompts),
            rubric_digest=content_id(self.compared.rubric.text),
            figures=[*self._shares(comparisons), *_flips(preferences), *lengths(ours), *lengths(theirs, "the rival's ")],
            outcomes=counted((preference.outcome for preference in preferences), 2 * (len(prompts) - len(pairs))),
            note="Each pair is judged in both orders: disagreement is a tie, and a prompt without both verdicts is left out. "
            "Comparable only with figures by the same judge, rubric and prompts.",
            breakdown=break_down(trial, self, prompts, worth),
            broken_down="wins, a tie counting half, %",
        )

    def _shares(self, comparisons: list[Comparison]) -> list[Figure]:
        """Wins, ties, losses and their balance, in per cent of the prompts with a verdict."""
        sides = [comparison.winner for comparison in comparisons if comparison.winner != "none"]
        sides_by_name = {"wins %": "a", "ties %": "tie", "losses %": "b"}
        values = {name: [float(side == of_side) for side in sides] for name, of_side in sides_by_name.items()}
        values["wins less losses, points"] = [2 * WORTH[side] - 1 for side in sides]
        return [figure for name, shares in values.items() for figure in self.share(name, shares)]


def _flips(preferences: list[Preference]) -> list[Figure]:
    rate = flip_rate(preferences)
    decided = sum(comparison.winner != "none" for comparison in combine(preferences))
    return [] if rate is None else [Figure(name="verdicts that change with the order %", value=100 * rate, n=decided)]
