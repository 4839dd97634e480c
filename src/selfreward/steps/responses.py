"""N candidate responses to each prompt (paper, section 2.2, step 2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from selfreward.engines import thought_of, without_thought
from selfreward.records import NO_FRAME, Checkpoint, Completion, Frame, Prompt, Request, Response, Sampling, turns_of


class Answering(NamedTuple):
    """Asks a model for `n` answers to each prompt."""

    sampling: Sampling
    n: int = 1
    frame: Frame = NO_FRAME

    @property
    def reading(self) -> list[object]:
        """Empty: an answer needs no parsing."""
        return []

    def plan(self, prompts: Iterable[Prompt], model: Checkpoint, seed: int) -> list[Request]:
        """`n` requests for each prompt, its candidates next to each other."""
        return [
            Request.asking(prompt.id, index, turns, self.sampling, model, seed)
            for prompt in prompts
            for turns in (turns_of(self.frame(prompt.asked)),)
            for index in range(self.n)
        ]

    @staticmethod
    def read(request: Request, completion: Completion) -> Response:
        """A completion as a candidate; an unfinished thought has no answer."""
        completion = without_thought(completion, request)
        return Response(
            prompt_id=request.about, model=request.model, index=request.index, text=completion.text.strip(),
            finish=completion.finish, ids=completion.ids,
            thought=thought_of(request, completion),
        )  # fmt: skip
