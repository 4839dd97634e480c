"""Instructions that a program can check: IFEval's 25 kinds and IFBench's 58, patterns, and known answers.

IFEval: Zhou et al. 2023, arXiv 2311.07911. IFBench: Pyatkin et al. 2025, arXiv 2507.02833. Both are checked by the library
if-verifiable. Some of its checkers read sentences and parts of speech with NLTK's data, some ask a language detector, some draw
what their arguments leave open; here nothing is downloaded, and what is drawn comes from the seed. IFEval's two prompts of `#`
and `!`, and IFBench's one of a span from word 0, are checked as they ask, where the published checkers draw a letter and a word.
"""

from __future__ import annotations

import difflib
import math
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import regex

from selfreward.engines import OPEN, parted
from selfreward.errors import SelfRewardError, first_line, pip_install
from selfreward.recipe import SourceConfig
from selfreward.records import Check, Checks, Instruction, Prompt, Response, whole_json
from selfreward.steps.containers import rows_of
from selfreward.steps.formats import Carrying
from selfreward.steps.known_answers import ends_with

NO_DATA = "Give it NLTK's data (python -m nltk.downloader punkt punkt_tab stopwords averaged_perceptron_tagger_eng)"
READ, SECONDS = 20_000, 2.0
"""Characters of an answer that a pattern is tried on, and seconds that it may take: answers are hostile, patterns go back."""
SLOW = f"its pattern took more than {SECONDS:g} seconds"
THINKS = re.compile(OPEN, re.IGNORECASE)
"""The beginning of a thought."""
PROBE = "One word, then another."
LETTERS, SPAN = "keywords:letter_frequency", "repeat:repeat_span"


@cache
def known_checkers() -> Mapping[str, Any]:
    """Kind of instruction → its checker. Raises `SelfRewardError` where the library is missing."""
    try:
        with _nothing_downloaded():
            import langdetect
            from if_verifiable.ifbench.instructions_registry import INSTRUCTION_DICT as IFBENCH
            from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT as IFEVAL
    except ImportError as error:
        what = f"needs the library if-verifiable ({error})"
        raise SelfRewardError(what, "checks", f"Install it: {pip_install('eval')}") from error
    langdetect.DetectorFactory.seed = 0
    published = {**IFEVAL, **IFBENCH}
    return published | {LETTERS: _of_any_letter(published[LETTERS]), SPAN: _from_any_word(published[SPAN])}


def _of_any_letter(checker: Any) -> Any:
    """The published checker, that counts the mark it is asked for: of IFEval's `#` and `!` the published one draws a letter."""

    class AnyLetter(checker):
        def build_description(self, *, letter: Any = None, **others: Any) -> Any:
            mark = isinstance(letter, str) and len(letter) == 1 and not letter.isspace()
            described = super().build_description(letter="a" if mark else letter, **others)
            if mark:
                self._letter = letter.lower()
            return described

    return AnyLetter


def _from_any_word(checker: Any) -> Any:
    """The published checker, that takes 0 for the first word: the published one draws another."""

    class AnyWord(checker):
        def build_description(self, prompt_to_repeat: Any = None, n_start: Any = None, n_end: Any = None) -> Any:
            described = super().build_description(prompt_to_repeat, 1 if n_start == 0 else n_start, n_end)
            if n_start == 0:
                self._n_start = 0
            return described

    return AnyWord


@contextmanager
def _nothing_downloaded() -> Iterator[None]:
    """Keep NLTK from fetching data, which it does as soon as it is imported."""
    import nltk

    download, nltk.download = nltk.download, lambda *_, **__: False
    try:
        yield
    finally:
        nltk.download = download


@contextmanager
def _drawing_from(seed: str) -> Iterator[None]:
    """Seed what a checker draws, and restore the state of `random`."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def check(instructions: Sequence[Instruction], prompt: str, answer: Response, seed: int) -> list[Check]:
    """Every instruction of a prompt in one answer. An empty answer follows none, though the library has no verdict on it."""
    text = _said(answer)
    return [_checked(instruction, prompt, answer.id, text, seed) for instruction in instructions]


def check_all(prompts: Iterable[Prompt], answers: Iterable[Response], seed: int) -> dict[str, list[Check]]:
    """Response id → its checks, of every answer to a prompt that carries some; a request that failed has none.

    A thought without an end follows no instruction.
    """
    carrying = {prompt.id: prompt for prompt in prompts if prompt.checks}
    checked: dict[str, list[Check]] = defaultdict(list)
    for answer in answers:
        if answer.finish != "error" and (prompt := carrying.get(answer.prompt_id)):
            checked[answer.id] = check(prompt.checks, prompt.text, answer, seed)
    return checked


def _checked(instruction: Instruction, prompt: str, response_id: str, text: str, seed: int) -> Check:
    def outcome(strict: bool, loose: bool) -> Check:
        return Check(response_id=response_id, instruction=instruction.name, outcome="checked", strict=strict, loose=loose)

    if not text:
        return outcome(False, False)
    try:
        with _drawing_from(f"{seed} {instruction.name} {prompt}"):
            return outcome(*_verdicts(instruction, prompt, text))
    except TimeoutError:
        reason = SLOW
    except Exception as error:  # a checker is a program of its own: it may lack data, or stumble over an answer
        reason = "NLTK's data" if _lacks_data(error) else f"{type(error).__name__}: {first_line(error)}"
    return Check(response_id=response_id, instruction=instruction.name, outcome="unchecked", reason=reason)


def _said(answer: Response) -> str:
    """The text that is checked, without a thought with which it begins; empty where that has no end.

    Later marks of thoughts are text: an answer is not to hide what stands before them.
    """
    text = answer.text.strip() if answer.answered else ""
    return parted(text).answer.strip() if THINKS.match(text) else text


def _verdicts(instruction: Instruction, prompt: str, text: str) -> tuple[bool, bool]:
    """(strict, loose): True if an instruction holds in a text."""
    if instruction.id is None:
        held = ends_with(text, instruction.answer) if instruction.answer else _matches(text, instruction.pattern or "")
        return held, held
    from if_verifiable.common import get_loose_transformations

    with _nothing_downloaded():
        checker = known_checkers()[instruction.id](instruction.id)
        checker.build_description(**instruction.kwargs)
        if "prompt" in (checker.get_instruction_args() or {}):
            checker.build_description(prompt=prompt)
        variants = iter(get_loose_transformations(text))  # the text itself is the first
        strict = bool(checker.check_following(next(variants)))
        return strict, strict or any(variant.strip() and checker.check_following(variant) for variant in variants)


def _matches(text: str, pattern: str) -> bool:
    """True if `pattern` matches in the first `READ` characters. Raises `TimeoutError` after `SECONDS`."""
    return regex.search(pattern, text[:READ], regex.IGNORECASE, timeout=SECONDS) is not None


def _lacks_data(error: Exception) -> bool:
    return isinstance(error, LookupError) and "nltk" in str(error).lower()


def assert_checkable(source: SourceConfig) -> None:
    """Raises `SelfRewardError`, with the line and the field, where a prompt in a file carries a check that cannot be made.

    Rows that are malformed are passed over: whoever loads the file tells of them.
    """
    for place, raw in rows_of(source):
        for number, instruction in enumerate(_instructions(raw)):
            if fault := fault_of(instruction):
                what, now = fault
                raise SelfRewardError(f"checks.{number}.{what}", place.where, now)


def _instructions(raw: Any) -> Checks:
    """The checks in a row, a line of JSON as text; none where it is malformed."""
    try:
        return Carrying.model_validate(whole_json(raw) if isinstance(raw, str) else raw).checks
    except ValueError:
        return ()


def fault_of(instruction: Instruction) -> tuple[str, str] | None:
    """(the fault of an instruction, behind the field it is in; what to do), or None."""
    if instruction.pattern is not None:
        try:
            regex.compile(instruction.pattern, regex.IGNORECASE)
        except regex.error as error:
            return f"pattern: not a regular expression ({error})", "Put it right"
    if instruction.id is None:
        return None
    if instruction.id not in known_checkers():
        near = difflib.get_close_matches(instruction.id, known_checkers(), n=1)
        return f"id: no checker knows {instruction.id!r}", f"Did you mean {near[0]}?" if near else "Leave it out"
    return _fault_of_arguments(instruction)


def _fault_of_arguments(instruction: Instruction) -> tuple[str, str] | None:
    """The fault of an instruction whose checker does not take its arguments, tried on a text; None where it takes them."""
    checker, given = known_checkers()[instruction.id or ""](instruction.id), instruction.kwargs
    known = checker.get_instruction_args_keys()
    if unknown := [name for name in given if name not in known]:
        return f"kwargs: {instruction.id} takes no {unknown[0]!r}", f"It takes {', '.join(known) or 'none'}"
    if lacking := [name for name in known if name not in given]:
        return f"kwargs: {instruction.id} lacks {' and '.join(lacking)}", "Give what the prompt asks for"
    try:
        with _drawing_from(""), _nothing_downloaded():
            _build(checker, given)
            checker.check_following(PROBE)
    except Exception as error:  # see _checked
        if not _lacks_data(error):
            why = f"it knows no {error}" if isinstance(error, KeyError) else first_line(error)
            return f"kwargs: {instruction.id} cannot work with {given!r:.80} ({why})", "Put them right"
    return None


def _build(checker: Any, given: Mapping[str, Any]) -> None:
    """Hand a checker its arguments. Raises `ValueError` where it would take others than these, drawn ones among them."""
    numbers = {name: value for name, value in given.items() if isinstance(value, int | float)}
    if any(value < 0 for value in numbers.values()) or numbers.get("percentage", 0) > 100:
        raise ValueError("out of range")
    if any(numbers.get(low, 0) > numbers.get(high, math.inf) for low, high in (("min_words", "max_words"), ("n_start", "n_end"))):
        raise ValueError("its least is above its most")
    before = random.getstate()
    checker.build_description(**given)
    if random.getstate() != before:
        raise ValueError("out of range: it would draw another by chance")
    for name, value in (checker.get_instruction_args() or {}).items():
        if isinstance(value, list) and not isinstance(given[name], list):
            raise ValueError(f"{name} must be a list")
