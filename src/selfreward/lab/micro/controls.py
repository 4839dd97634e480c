"""Controls for the loop in the micro world: the truth as judge, and shuffled scores."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence

from selfreward.lab.micro import hard, truth
from selfreward.lab.micro.base import JUDGE
from selfreward.lab.micro.world import Task, read_task
from selfreward.records import Completion, Pair, Request
from selfreward.steps import Scored, best_against_worst

ASKED = re.compile(re.escape(JUDGE).replace(r"\{prompt\}", "(.*)").replace(r"\{response\}", "(.*)"), re.DOTALL)


class Oracle:
    """A judge without fault, as a model: it answers judge prompts by the truth. A recipe names it in `judge.by`."""

    judge: Callable[[Task, Sequence[str]], str] = staticmethod(truth.judge)

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """One batch."""
        return [list(range(len(requests)))]

    def prepare(self, requests: Sequence[Request]) -> None:
        """Does nothing."""

    def generate(self, batch: Sequence[Request]) -> Iterator[Completion]:
        """The true judgment of each request; empty for a prompt that is no task of the family."""
        for request in batch:
            match = ASKED.fullmatch(request.messages[-1].content)
            task = read_task(match[1]) if match else None
            text = self.judge(task, match[2].lower().split()) if match and task else ""
            yield Completion(request_id=request.id, text=text, finish="stop", prompt_tokens=0, completion_tokens=0)

    def close(self) -> None:
        """Does nothing."""


class HardOracle(Oracle):
    """The oracle of `micro-hard`."""

    judge = staticmethod(hard.judge)


def shuffled(prompt_id: str, group: list[Scored]) -> Pair | str:
    """Best against worst, with the scores shuffled among the candidates. A recipe names it in `pairs.policy`."""
    scores = [score for score, _ in group]
    random.Random(prompt_id).shuffle(scores)
    return best_against_worst(prompt_id, [(score, response) for score, (_, response) in zip(scores, group, strict=True)])
