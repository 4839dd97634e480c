"""A look at the model in a folder or a GGUF file: its shape, the way of its chat template, and what is wrong with it.

All that `check` asks of torch and transformers about a model is asked here, so that another process can do it (`scout`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from selfreward.checks.finding import Finding
from selfreward.checks.shapes import Shape, adapter_parameters, shape_of
from selfreward.engines import (
    assert_finite,
    assert_readable,
    assert_sound,
    quiet_libraries,
    read_config,
    read_gguf,
    weight_files,
)
from selfreward.errors import SelfRewardError
from selfreward.records import Message

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from selfreward.recipe import LoRAConfig

Kind = Literal["folder", "settings", "gguf"]
"""A folder with weights, one with all but those, or a GGUF file."""


GONE = (EOFError, ConnectionError)
"""Errors of a pipe to a process that has ended."""


class Talk(NamedTuple):
    """The way of a model's tokenizer and chat template with conversations."""

    thinking: str
    """A word of `engines.template.Thinking`."""
    stops_within: bool
    """True if a thought's marks hold the token that ends an answer."""
    system: str
    """The fate of a system turn, as `engines.template.System`."""
    earlier: str
    """The reason why its template writes no earlier turns; empty where it does."""
    around: int
    """Tokens of the template around a prompt and an answer."""
    own: bool
    """False if it came without a template, and was given the default."""


class NamedModel(NamedTuple):
    """A model that a recipe names."""

    name: str
    parts: tuple[str, ...]
    """Its parts in the run: "M0", "writer", …"""
    where: str
    """The place where it was found, in words."""
    shape: Shape | None = None
    """None for a server's model, and for one that cannot be loaded and whose name gives no size."""
    download: int = 0
    """Bytes of weights still to be fetched from the hub."""
    stored: int = 4
    """Bytes of a parameter in its files."""
    talk: Talk | None = None
    """None where it has no tokenizer that can be used, or none is at hand."""
    problems: tuple[Finding, ...] = ()
    says: str = ""
    """For a server, the fields of a request that it honours and those that it does not."""
    context: int | None = None
    """For a server, the tokens that it reads and writes together, by its own statement."""


class Looker:
    """Looks at models, and answers for those that it has seen."""

    def __init__(self) -> None:
        self._configs: dict[str, Any] = {}
        self._tokenizers: dict[str, Any] = {}

    def look(self, kind: Kind, path: Path, model: NamedModel) -> NamedModel:
        """`model` with what is found in `path`. Raises `SelfRewardError` where that is a GGUF file that cannot be converted."""
        quiet_libraries()
        if kind == "gguf":
            config, tokenizer = read_gguf(path)
            return self._seen(model, config)._replace(talk=self._heard(model.name, tokenizer))
        read = self._read(path, model)
        if kind == "settings":
            return read
        wrong = (*_wrong(weight_files, path, model), *read.problems) or _wrong(assert_sound, path, model)
        return read._replace(problems=wrong or _wrong(assert_finite, path, model))

    def count(self, name: str, texts: Sequence[str]) -> list[int]:
        """Tokens of each of `texts` by the tokenizer of the model `name`, which has one."""
        from selfreward.engines import count_tokens

        return count_tokens(self._tokenizers[name], texts)

    def adapters(self, name: str, lora: LoRAConfig) -> int:
        """Parameters in the adapters of the model `name`; 0 where its settings could not be read. Raises `SelfRewardError`."""
        return adapter_parameters(self._configs[name], lora) if name in self._configs else 0

    def _read(self, folder: Path, model: NamedModel) -> NamedModel:
        """Settings and tokenizer in `folder`, and what is wrong with them."""
        try:
            config = read_config(folder)
            model = self._seen(model, config)._replace(stored=config.dtype.itemsize if config.dtype else 4)
            return model._replace(talk=self._heard(model.name, assert_readable(folder, config)))
        except SelfRewardError as error:
            return model._replace(problems=(Finding.of(error)._replace(where=model.name),))

    def _seen(self, model: NamedModel, config: Any) -> NamedModel:
        self._configs[model.name] = config
        return model._replace(shape=shape_of(config))

    def _heard(self, name: str, tokenizer: Any) -> Talk:
        self._tokenizers[name] = tokenizer
        return talk_of(tokenizer)


class Scout(Looker):
    """Has another process look, and looks itself where that one has ended."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe: Connection | None = pipe
        self._looks: list[tuple[Kind, Path, NamedModel]] = []

    def look(self, kind: Kind, path: Path, model: NamedModel) -> NamedModel:
        """Have the other look, as `Looker.look` does."""
        self._looks.append((kind, path, model))
        found: NamedModel = self._ask("look", kind, path, model)
        return found

    def count(self, name: str, texts: Sequence[str]) -> list[int]:
        """Have the other count, as `Looker.count` does."""
        numbers: list[int] = self._ask("count", name, texts)
        return numbers

    def adapters(self, name: str, lora: LoRAConfig) -> int:
        """Have the other count, as `Looker.adapters` does."""
        number: int = self._ask("adapters", name, lora)
        return number

    def _ask(self, question: str, *given: Any) -> Any:
        if self._pipe:
            try:
                self._pipe.send((question, given))
                answer = self._pipe.recv()
            except GONE:
                self._pipe = None
                for seen in self._looks:
                    with suppress(SelfRewardError):
                        super().look(*seen)
            else:
                if isinstance(answer, SelfRewardError):
                    raise answer
                return answer
        return getattr(super(), question)(*given)


def talk_of(tokenizer: Any) -> Talk:
    """The way of a tokenizer, as `load_tokenizer` gives it, with conversations."""
    from selfreward.engines import came_without_template, completion_ids, prompt_ids, stops_within, system_turn, way_of_thinking

    greeting = [Message(role="user", content="Hi")]
    around = len(prompt_ids(tokenizer, greeting)) + len(completion_ids(tokenizer, greeting, "Hi"))
    return Talk(
        way_of_thinking(tokenizer), stops_within(tokenizer), system_turn(tokenizer), _earlier(tokenizer), around,
        own=not came_without_template(tokenizer),
    )  # fmt: skip


def _earlier(tokenizer: Any) -> str:
    from selfreward.engines import prompt_ids

    roles: tuple[Literal["user", "assistant"], ...] = ("user", "assistant", "user")
    try:
        prompt_ids(tokenizer, [Message(role=role, content=str(at)) for at, role in enumerate(roles)])
    except SelfRewardError as error:
        return error.what
    return ""


def _wrong(look: Callable[[Path], object], folder: Path, model: NamedModel) -> tuple[Finding, ...]:
    try:
        look(folder)
    except SelfRewardError as error:
        return (Finding.of(error)._replace(where=model.name),)
    return ()
