"""Records of watching the loop: what a monitor read, how likely a model found a text, and questions with known answers."""

from __future__ import annotations

from selfreward.records import Completion, Likelihood, Request


def read_likelihood(request: Request, completion: Completion) -> Likelihood:
    """What a model told of the answer that it was made to give."""
    told = completion.finish == "stop" and completion.logprob is not None
    return Likelihood(
        response_id=request.about, model=request.model, outcome="told" if told else "untold",
        logprob=completion.logprob if told else None, tokens=completion.completion_tokens + 1,
    )  # fmt: skip
