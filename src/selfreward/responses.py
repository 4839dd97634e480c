"""N candidate responses to each prompt (paper, section 2.2, step 2)."""

from __future__ import annotations

from collections.abc import Sequence

from selfreward.records import Checkpoint, Completion, Prompt, Request, Response, Sampling


def plan_responses(prompts: Sequence[Prompt], n: int, sampling: Sampling, model: Checkpoint, seed: int) -> list[Request]:
    """`n` requests for each prompt, its candidates next to each other."""
    return [Request.user_turn(prompt.id, index, prompt.text, sampling, model, seed) for prompt in prompts for index in range(n)]


def read_response(request: Request, completion: Completion) -> Response:
    """What came back, as a candidate."""
    return Response(
        prompt_id=request.about, model=request.model, index=request.index, text=completion.text.strip(),
        finish=completion.finish, ids=completion.ids,
    )  # fmt: skip
