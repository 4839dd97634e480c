"""Table of a recipe: pairs of judgments, from which the model learns to judge beside learning to answer."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from selfreward.recipe.fields import Located, Pattern, SamplingConfig, Share

WISE = 0.15
"""Share of judge pairs above which NVIDIA's operators saw judges give one score to everything (NeMo-Aligner's documentation)."""


class JudgePairsConfig(SamplingConfig):
    """Judgments that the model learns from and away from, in one DPO with its answers (Meta-Rewarding, arXiv 2407.19594).

    Of each prompt the response whose judgments vary most is taken. The sampling is that of the meta-judge.
    """

    by: Literal["meta", "consensus", "none"] = "meta"
    """The better judgment of a response: the one that M_t as its own meta-judge finds `meta`-wise stronger than the others in
    battles of two, or the one nearest the `consensus` of all scores, against the one farthest. `none`: only `replay`."""
    samples: int | None = Field(None, ge=2)
    """Judgments of that response that are compared; those above `judge.samples` are asked for it alone. Not given: as many."""
    rubric: Located = "selfreward:recipe/rubrics/judge_meta.txt"
    """Prompt text of the meta-judge with the slots {task}, {first} and {second}; scores are cut out of the judgments."""
    pattern: Pattern = r"winner[\s*]*:[\s*]*(first|second)\b"
    """Where the meta-judge's verdict stands, ignoring case; the last match wins. One group, `first` or `second`."""
    orders: Literal["weighed", "agreeing"] = "weighed"
    """What the two orders of a battle count. `weighed`: each win by how seldom its place wins; `agreeing`: one win where both
    orders agree, half a win for either where they do not."""
    share: Share = WISE
    """Judge pairs are at most this share of all pairs; above .15 judges were seen to give one score to everything."""
    commonest: Share = 0.4
    """No score of a chosen judgment may be more than this share of the judge pairs."""
    max_characters: int | None = Field(None, ge=1)
    """Pairs whose chosen judgment is longer are dropped; 1,100 and 1,000 in the paper's two rounds."""
    rounds: int | None = Field(None, ge=1)
    """Only so many first iterations teach the judge; 2 of 4 in the paper. Not given: all."""
    replay: int = Field(0, ge=0)
    """EFT's examples are judged so often by M_t in each iteration; judgments of another score than EFT's are learnt away from."""

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if re.compile(self.pattern).groups != 1:
            raise ValueError("pattern must have one group, the verdict")
        if self.by == "none" and not self.replay:
            raise ValueError('by = "none" needs replay: nothing else teaches the judge then')
        if not self.share:
            raise ValueError("share must be above 0: leave out [judge_pairs] to train on answers alone")
        return self
