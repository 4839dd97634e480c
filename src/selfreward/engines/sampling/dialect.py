"""The form of a request to an endpoint: the fields it takes, their names, and the facts that the endpoint states about itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from selfreward.recipe import ServerConfig
from selfreward.records import Request

MOST_LIKELY = 20
"""The likeliest tokens of a place that are asked for where some are watched: no server lists more without being told to."""
DISPENSABLE = {
    "chat_template_kwargs": r"\bchat_template_kwargs\b",
    "response_format": r"\b(response_format|json_schema)\b", "seed": r"\bseed\b", "top_p": r"\btop[ _-]?p\b",
    "temperature": r"\btemperature\b",
}  # fmt: skip
"""Fields that can be done without, in the order in which they are given up, and how a refusal names them."""
THINK = {"enable_thinking": True, "thinking": True}
"""The variables by which the chat templates of Qwen, GLM, DeepSeek and others are told that the model is to think."""
LLAMA_CPP = {"samplers": ["temperature", "top_p"]}
"""llama.cpp's own order cuts (top-k, min-p, top-p) before the temperature; here it is the temperature first, as the paper's
sampling has it, and no cut but top-p's."""
WINDOWS = ("max_model_len", "loaded_context_length", "context_length", "context_window", "max_input_tokens")
"""Names of the longest context in lists of models: vLLM and SGLang, LM Studio, OpenRouter and Together, Groq, LiteLLM."""


@dataclass(frozen=True)
class Dialect:
    """The form of a request, as far as the endpoint has shown which it takes."""

    limit: str = "max_tokens"
    """The name of the field that limits the length of an answer."""
    without: frozenset[str] = frozenset()
    """Fields that the endpoint refused."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Fields that the endpoint needs in order to sample as asked."""
    context: int | None = None
    """Tokens of a prompt and its answer together; None where the endpoint does not state them."""

    def body(self, config: ServerConfig, request: Request) -> dict[str, Any]:
        """The call. Never `n`, which some servers ignore without a word."""
        body = {
            "model": config.model,
            "messages": [message.model_dump() for message in request.messages],
            "temperature": request.sampling.temperature,
            "top_p": request.sampling.top_p,
            self.limit: request.sampling.longest,
            "seed": request.seed % 2**31,  # the widest that every server takes
        }
        if likely := max(request.top_logprobs, MOST_LIKELY * bool(request.watch)):
            body |= {"logprobs": True, "top_logprobs": likely}
        if request.json_schema:
            schema = {"name": "verdict", "schema": json.loads(request.json_schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.sampling.thinking is not None:
            body["chat_template_kwargs"] = THINK
        return {name: value for name, value in body.items() if name not in self.without} | {**self.more, **config.extra}

    def suited(self, words: str, body: Mapping[str, Any]) -> Dialect | None:
        """The form that answers a refusal of `body` in `words`: a field renamed or left out; None where neither would help."""
        if "max_completion_tokens" in words and "max_tokens" in body:
            return replace(self, limit="max_completion_tokens")
        for name, pattern in DISPENSABLE.items():
            if name in body and name not in self.without and re.search(pattern, words, re.IGNORECASE):
                return replace(self, without=self.without | {name})
        return None


def window(listed: Any, model: str) -> int | None:
    """The context of `model` in a list of models, as `GET /models` answers."""
    entry = _entry(listed, model)
    return next((size for name in WINDOWS if (size := _size(entry.get(name)))), None)


def is_llama_cpp(listed: Any, model: str) -> bool:
    """True if the list of models is that of llama.cpp's own server."""
    return _entry(listed, model).get("owned_by") == "llamacpp"


def slot(props: Any) -> int | None:
    """The context of one of llama.cpp's slots, as `GET /props` answers."""
    settings = props.get("default_generation_settings") if isinstance(props, dict) else None
    return _size(settings.get("n_ctx")) if isinstance(settings, dict) else None


def _entry(listed: Any, model: str) -> dict[str, Any]:
    """The entry for `model` in a list of models, or the only one that there is."""
    data = listed.get("data") if isinstance(listed, dict) else None
    entries = [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
    named = [entry for entry in entries if entry.get("id") == model]
    return (named or (entries if len(entries) == 1 else []) or [{}])[0]


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
