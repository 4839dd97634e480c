"""A model as a judge of any texts: scores with their outcomes, and a reward for trainers that sample as they learn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from inspect import isfunction
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar, cast

from pydantic import ValidationError

from selfreward.engines import Model, completions, name_of, open_model, outside_model
from selfreward.errors import SelfRewardError, amount
from selfreward.measure.evaluations.subjects import Subject, find_subject, name_servers
from selfreward.recipe import BackendConfig, JudgeConfig, Section, ServerConfig, assert_engine, load_recipe, merged, written
from selfreward.records import (
    HALVES,
    Asked,
    Checkpoint,
    Judgment,
    Message,
    Outcome,
    Prompt,
    Response,
    content_id,
    quoted,
    wrong_field,
)
from selfreward.steps import Grader

S = TypeVar("S", bound=Section)
Turns = str | Sequence[Mapping[str, Any]]
"""A text, or the messages of a conversation: `{"role": …, "content": …}` each."""


AS_TEXT = 'Give a text, or messages as {"role": …, "content": "a text"}'


class Graded(NamedTuple):
    """A judge's opinion of one response."""

    score: float | None
    """Mean of the valid judgments; None where there are fewer than `min_valid`."""
    judgments: tuple[Judgment, ...]
    """All K of them."""

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcome of each judgment: `scored`, or the name of the failure."""
        return [judgment.outcome for judgment in self.judgments]

    @property
    def rationales(self) -> list[str]:
        """The whole text that the judge wrote, by judgment."""
        return [judgment.rationale for judgment in self.judgments]


class Judge:
    """A model that grades responses by a rubric. It is opened when it is first asked; `close` gives its memory back."""

    def __init__(
        self, model: str | Path | Model | Callable[[], Model], *, backend: Mapping[str, Any] | None = None,
        key_env: str | None = None, seed: int = 0,
        **grading: Any,
    ) -> None:  # fmt: skip
        """`model`: RUN/M3, a folder with a transformers model, a hub id, URL#MODEL, or an engine of your own.

        An engine is `package.module:name`, a class, or one that is open, which `close` closes for good.
        `grading`: fields of a recipe's `[judge]` (`rubric`, `pattern`, `scale`, `samples`, `temperature`, …); `backend`: fields
        of `[backend]`. Fields that are left out come from the recipe of the run that made the model, or else from the paper.
        `key_env`: the variable with a server's key. `seed` and the judged texts determine every sample. Raises `SelfRewardError`.
        """
        self._given = None if isinstance(model, str | Path | type) or isfunction(model) else model
        if self._given is not None:
            assert_engine(self._given, name_of(self._given))
        named = str(written(model, "model")) if self._given is None else name_of(self._given)
        subject = Subject(named, named, Path()) if self._given is not None else find_subject(named)
        run = load_recipe(subject.recipe) if subject.recipe else None
        if isinstance(samples := grading.get("samples"), int):
            grading = {"min_valid": (samples + 1) // 2, **grading}
        self.grader = Grader(_section(JudgeConfig, "judge", run.judge if run else None, grading))
        self._backend = _section(BackendConfig, "backend", run.backend if run else None, backend or {})
        servers = name_servers([named], key_env).items()
        self._servers = {name: _section(ServerConfig, name, None, server) for name, server in servers}
        own = Checkpoint(name=named, path=Path(named), fingerprint=content_id(named))
        found = outside_model(subject.source, self._servers) if self._given is None else own
        self.model = found.model_copy(update={"name": subject.name})
        self._seed = seed

    @cached_property
    def _engine(self) -> Model:
        return cast(Model, self._given) if self._given is not None else open_model(self.model, self._backend, self._servers)

    def score(self, prompts: Iterable[Turns], responses: Iterable[Turns]) -> list[Graded]:
        """Grade each response to the prompt beside it, in order; a repeated pair of prompt and response is judged once.

        A prompt is a text, or the messages of a conversation of which the response answers the last. Raises `SelfRewardError`
        where there are not as many prompts as responses, or one of them is neither.
        """
        numbered = enumerate(_side_by_side(prompts, responses), start=1)
        read = [
            (_asked(prompt, f"prompt {at}"), quoted(_asked(response, f"response {at}"))) for at, (prompt, response) in numbered
        ]
        items = [(prompt, _answer(prompt, response)) for prompt, response in read]
        requests = self.grader.plan(items, self.model, self._seed)
        answers = completions(self._engine, requests) if requests else {}
        judgments = [self.grader.read(request, answers[request.id]) for request in requests]
        means, by_response = self.grader.mean_scores(judgments), defaultdict[str, list[Judgment]](list)
        for judgment in judgments:
            by_response[judgment.response_id].append(judgment)
        return [Graded(means.get(response.id), tuple(by_response[response.id])) for _, response in items]

    def reward_func(self) -> Callable[..., list[float | None]]:
        """A reward function for TRL's GRPOTrainer and RLOOTrainer.

        Prompts and completions are texts or conversations; of several messages the judge reads each below its role, every line
        after a `>`. A response whose judgments failed has no reward, None, and both trainers leave it out.
        """

        def self_reward(prompts: Sequence[Turns], completions: Sequence[Turns], **columns: Any) -> list[float | None]:
            return [graded.score for graded in self.score(prompts, completions)]

        return self_reward

    def close(self) -> None:
        """Give the model's memory back; asked again, it is opened again."""
        if "_engine" in self.__dict__:
            self._engine.close()
            del self._engine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def _section(kind: type[S], where: str, defaults: S | None, changes: Mapping[str, Any]) -> S:
    """A table of a recipe, from the `defaults` and the `changes` to them. Raises `SelfRewardError`."""
    try:
        return kind.model_validate(merged(defaults.model_dump() if defaults else {}, written(changes)))
    except ValidationError as error:
        now = f"Its fields are {', '.join(kind.model_fields)}"
        raise SelfRewardError(wrong_field(error, kind), where, now) from error


def _side_by_side(prompts: Iterable[Turns], responses: Iterable[Turns]) -> list[tuple[Turns, Turns]]:
    """Each prompt with its response. Raises `SelfRewardError` where they are no lists, or not as many of both."""
    for name, given in {"prompts": prompts, "responses": responses}.items():
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise SelfRewardError(f"are {given!r:.80}, where a list is expected", name, f"Give several {name}, or a list of one")
    prompts, responses = [*prompts], [*responses]
    if len(prompts) != len(responses):
        what = f"there are {amount(len(prompts), 'prompt')} and {amount(len(responses), 'response')}"
        raise SelfRewardError(what, "score", "Give one response beside each prompt")
    return [*zip(prompts, responses, strict=True)]


def _answer(prompt: Asked, response: str) -> Response:
    """Any text as a response that a judge can be asked about."""
    about = Prompt(text=quoted(prompt), source="seed")
    return Response(prompt_id=about.id, model="", index=0, text=response, finish="stop")


def _asked(turns: Turns, where: str) -> Asked:
    """A text or a conversation as it is judged, of one message its content. Raises `SelfRewardError` where it is no text."""
    is_text = isinstance(turns, str)
    if not is_text and not (isinstance(turns, Sequence) and turns and all(isinstance(turn, Mapping) for turn in turns)):
        raise SelfRewardError(f"is {turns!r:.80}, and no text", where, AS_TEXT)
    if isinstance(turns, str):
        prompt: Asked = turns
    elif len(turns) == 1:
        prompt = _content(turns[0], where)
    else:
        if (roleless := next((turn for turn in turns if "role" not in turn), None)) is not None:
            raise SelfRewardError(f"has a message without a role, {roleless!r:.80}", where, AS_TEXT)
        roles: list[Any] = [" ".join(str(turn["role"]).split()) for turn in turns]  # a tool's may be among them
        prompt = tuple(
            Message.model_construct(role=role, content=_content(turn, where)) for role, turn in zip(roles, turns, strict=True)
        )
    if HALVES.search(quoted(prompt)):
        raise SelfRewardError("holds half a surrogate pair, which is no text", where, "Leave it out")
    return prompt


def _is_part(part: Any) -> bool:
    """True for a part of a message: a text, or one of another named type."""
    if not isinstance(part, Mapping):
        return False
    return isinstance(part.get("text"), str) if part.get("type") == "text" else isinstance(part.get("type"), str)


def _content(message: Mapping[str, Any], where: str) -> str:
    """The text of a message. Raises `SelfRewardError` where it has other parts than text."""
    content: Any = message.get("content") or ""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence) or not all(map(_is_part, content)):
        raise SelfRewardError(f"has a message of {content!r:.80}, and no text", where, AS_TEXT)
    if other := next((part["type"] for part in content if part["type"] != "text"), None):
        raise SelfRewardError(f"has a part of type {other}, and judges read text", where, "Give prompts of text alone")
    return "".join(part["text"] for part in content)
