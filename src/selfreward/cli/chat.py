"""Talk to a model that came out of a run."""

from __future__ import annotations

import secrets
import warnings
from pathlib import Path

from selfreward.engines import Model, assert_finite, quiet_libraries
from selfreward.errors import SelfRewardError, visible
from selfreward.measure import find_subject
from selfreward.recipe import BackendConfig, in_package, load_recipe
from selfreward.records import HALVES, NO_FRAME, Frame, Message, Request, Sampling, turns_of
from selfreward.rundir import check_model


def converse(
    model: Path, temperature: float, top_p: float, max_tokens: int, system: str | None = None, thinking: int = 0
) -> None:
    """Read lines and answer them, remembering the conversation, until an empty one or the end of input.

    `system` replaces the system prompt of the model's run. With `thinking`, tokens, each thought is shown before its answer and
    forgotten.
    """
    folder = find_model(model)
    check_model(folder)
    assert_finite(folder)
    engine = _open(folder)
    frame = _frame(model) if system is None else _frame(model)._replace(system=system)
    sampling = Sampling(temperature=temperature, top_p=top_p, max_tokens=max_tokens, thinking=thinking or None)
    messages: tuple[Message, ...] = ()
    while text := _ask():
        messages += (Message(role="user", content=text),)
        seed = secrets.randbits(63)
        request = Request(
            about="chat", index=len(messages), messages=turns_of(frame(messages)), sampling=sampling, seed=seed, model="chat"
        )
        answer = next(iter(engine.generate([request])))
        if answer.finish == "error":
            raise SelfRewardError("the conversation is longer than the model can read", str(model), "Start a new conversation")
        if answer.thought:
            print(visible(f"(thought) {answer.thought}\n", keep="\n\t"), flush=True)
        if answer.finish == "truncated":
            print("(no answer: the thought was longer than --thinking and --max-tokens)", flush=True)
            messages = messages[:-1]
            continue
        print(visible(answer.text, keep="\n\t"), flush=True)
        messages += (Message(role="assistant", content=answer.text),)


def _frame(model: Path) -> Frame:
    """The framing of prompts in the run that made the model; none where no run did."""
    recipe = find_subject(str(model)).recipe
    return load_recipe(recipe).responses.frame if recipe else NO_FRAME


def _open(model: Path) -> Model:
    """Open the engine with the libraries below it silenced, so that only the conversation is on the screen."""
    quiet_libraries()
    warnings.simplefilter("ignore")
    from transformers.utils import logging

    from selfreward.engines.sampling.hf import HFModel

    logging.set_verbosity_error()
    return HFModel(model, BackendConfig())


def find_model(path: Path) -> Path:
    """The folder with the weights: `path` itself, or `model` in the folder of a run's iteration."""
    path = Path(in_package(str(path)))
    if not path.is_dir():
        raise SelfRewardError("there is no such folder", str(path), "Give RUN/M3, or a folder with a transformers model")
    weights = next((folder for folder in (path, path / "model") if (folder / "config.json").exists()), None)
    if weights is None:
        raise SelfRewardError("holds no model", str(path), "Give RUN/M3, or a folder with a transformers model")
    return weights


def _ask() -> str:
    try:
        text = input("> ").strip()
    except EOFError:
        return ""
    except UnicodeDecodeError:
        text = "\udcff"
    if HALVES.search(text):
        raise SelfRewardError("the input is not UTF-8 text", "chat", "Set the terminal to UTF-8")
    return text
