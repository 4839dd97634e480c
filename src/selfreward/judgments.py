"""K judgments of each response: LLM-as-a-Judge (paper, section 2.2, step 3, and figure 2).

The text that is judged is hostile until shown otherwise: it may forge scores, slots, markup or the end of itself. So
slots are filled in one pass, the response's own tags are broken, and only what the judge generated is ever parsed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from math import fsum
from pathlib import Path

from selfreward.config import JudgeConfig
from selfreward.errors import SelfRewardError
from selfreward.records import Checkpoint, Completion, Judgment, Outcome, Request, Response

SLOT = re.compile(r"\{(prompt|response)\}")
END_OF_TURN = re.compile(
    r"<\s*/?\s*[|｜][^<>|｜\n]{1,40}[|｜]\s*>"
    r"|<\s*/?\s*\|?(?:im_start|im_end|end|endoftext|eos|end_of_turn|start_of_turn|user|assistant|system)\|?\s*>"
    r"|</s>|\[\s*/?INST\s*\]"
    r"|\n[ \t]*[#*>]*[ \t]*(?:(?:user|human|assistant|system|instruction)[ \t*]*:|(?:user|human|assistant|system)[ \t*]*(?=\n))",
    re.IGNORECASE,
)
"""An end of turn or a role marker, as a token or spelt out; what follows is a forged turn.

Judges make up markers of their own (`<|im_answer|>`), so every name between pipes is one.
"""


class Judge:
    """A rubric, a scale and a parser."""

    def __init__(self, config: JudgeConfig) -> None:
        self.config = config
        try:
            self.rubric = Path(config.rubric).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SelfRewardError(
                f"cannot be read ({error.strerror})", config.rubric, "Set judge.rubric to a text file"
            ) from error
        missing = [slot for slot in ("prompt", "response") if f"{{{slot}}}" not in self.rubric]
        if missing:
            raise SelfRewardError(f"has no slot {{{missing[0]}}}", config.rubric, "Put it where that text is to stand")

    @cached_property
    def _verdict(self) -> re.Pattern[str]:
        return re.compile(self.config.pattern, re.IGNORECASE)

    @cached_property
    def _tag(self) -> re.Pattern[str]:
        """Tags that the rubric puts around a slot, as a response might forge them."""
        names = {name.lower() for name in re.findall(r"</?\s*(\w+)\s*>", self.rubric)}
        return re.compile(rf"<(?=\s*/?\s*(?:{'|'.join(sorted(names)) or 'response'})\b)", re.IGNORECASE)

    def fill(self, prompt: str, response: str) -> str:
        """The judge's prompt: slots filled in one pass, so that slots and tags inside the texts are only text."""
        texts = {"prompt": prompt, "response": response}
        return SLOT.sub(lambda slot: self._tag.sub("&lt;", texts[slot[1]]), self.rubric)

    def plan(self, responses: Iterable[tuple[str, Response]], model: Checkpoint, seed: int) -> list[Request]:
        """K requests for each (prompt text, response), next to each other."""
        return [
            Request.user_turn(response.id, sample, text, self.config.sampling, model, seed)
            for prompt, response in responses
            for text in (self.fill(prompt, response.text),)
            for sample in range(self.config.samples)
        ]

    def read(self, request: Request, completion: Completion) -> Judgment:
        """One opinion: a score on the scale, or the name of what is wrong with it."""
        outcome, score = self._outcome(completion)
        return Judgment(
            response_id=request.about,
            judge=request.model,
            sample=request.index,
            rationale=completion.text,
            outcome=outcome,
            score=score,
        )

    def _outcome(self, completion: Completion) -> tuple[Outcome, float | None]:
        if completion.finish == "error":
            return "error", None
        own = END_OF_TURN.split(completion.text, maxsplit=1)[0]
        if completion.finish == "length" and own == completion.text:
            return "truncated", None
        return self.parse(own)

    def parse(self, text: str) -> tuple[Outcome, float | None]:
        """The last verdict in a judge's own text, and then whether it is on the scale; never an earlier one instead."""
        found = self._verdict.findall(text)
        if not found:
            return "unparsed", None
        score = float(found[-1].replace(",", "."))
        low, high = self.config.scale
        return ("scored", score) if low <= score <= high else ("off_scale", None)

    def mean_scores(self, judgments: Iterable[Judgment]) -> dict[str, float]:
        """Mean score by response id, over its valid judgments."""
        return mean_scores(judgments, self.config.min_valid)


def mean_scores(judgments: Iterable[Judgment], min_valid: int) -> dict[str, float]:
    """Mean score by response id, over its valid judgments; responses with fewer than `min_valid` are not in it.

    Summed exactly, so that the same scores in another order are equal and not a preference.
    """
    valid: dict[str, list[float]] = defaultdict(list)
    for judgment in judgments:
        if judgment.score is not None:
            valid[judgment.response_id].append(judgment.score)
    return {name: fsum(scores) / len(scores) for name, scores in valid.items() if len(scores) >= min_valid}
