"""The micro world: a family of small tasks in plain words, their wording, and authors who answer them well or badly.

A task asks for a list of words. There are three kinds, of rising difficulty:

    list four jobs from a to z including nurse and baker
    sort these four words from z to a: nurse pear dog hammer
    pick the two animals from a to z in dog nurse cat hammer pear

This module writes and reads tasks. The worth of an answer is in `truth`; the loop imports neither.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Literal

WORDS: dict[str, tuple[str, ...]] = {
    "animals": ("badger", "cat", "dog", "eagle", "goat", "horse", "lion", "mouse", "otter", "rabbit", "tiger", "zebra"),
    "foods": ("apple", "bread", "cheese", "egg", "honey", "jam", "lemon", "olive", "pear", "rice", "soup", "yogurt"),
    "jobs": ("actor", "baker", "coach", "diver", "farmer", "judge", "nurse", "pilot", "ranger", "singer", "tailor", "waiter"),
    "places": ("beach", "cave", "desert", "forest", "garden", "harbor", "island", "lake", "meadow", "park", "river", "valley"),
    "tools": ("anvil", "brush", "chisel", "drill", "file", "hammer", "knife", "ladder", "needle", "pliers", "saw", "wrench"),
}  # fmt: skip
KIND_OF = {word: kind for kind, words in WORDS.items() for word in words}
NUMBERS = ("two", "three", "four", "five", "six")
SIZE_OF = {name: size for size, name in enumerate(NUMBERS, start=2)}
DIRECTIONS = ("a to z", "z to a")
TaskKind = Literal["list", "sort", "pick"]
TASK_KINDS: tuple[TaskKind, ...] = ("list", "sort", "pick")

_ONE = r"(?P<size>two|three|four|five|six)"
_WAY = r"from (?P<way>a to z|z to a)"
FORMS: dict[TaskKind, re.Pattern[str]] = {
    "list": re.compile(rf"list {_ONE} (?P<of>\w+) {_WAY} including (?P<words>\w+(?: and \w+)*)"),
    "sort": re.compile(rf"sort these {_ONE} words {_WAY}: (?P<words>\w+(?: \w+)*)"),
    "pick": re.compile(rf"pick the {_ONE} (?P<of>\w+) {_WAY} in (?P<words>\w+(?: \w+)*)"),
}


@dataclass(frozen=True)
class Task:
    """One task: an answer has `size` words, all of `asked` among them, and none outside `allowed`."""

    kind: TaskKind
    size: int
    descending: bool
    given: tuple[str, ...]
    """The words in the text, in their order there."""
    of: str = ""
    """The kind of word that the task asks for; empty for `sort`."""

    @property
    def asked(self) -> frozenset[str]:
        """The words that an answer must have."""
        if self.kind == "pick":
            return frozenset(word for word in self.given if KIND_OF.get(word) == self.of)
        return frozenset(self.given)

    @property
    def allowed(self) -> frozenset[str]:
        """The words that an answer may have."""
        return frozenset(WORDS.get(self.of, ())) if self.kind == "list" else self.asked

    @property
    def solvable(self) -> bool:
        """True if some answer meets every criterion: a task that a model wrote may contradict itself."""
        fits = len(self.asked) <= self.size if self.kind == "list" else len(self.asked) == self.size
        return fits and self.asked <= self.allowed and self.size <= len(self.allowed)

    def text(self) -> str:
        """The task as a prompt."""
        size, way = NUMBERS[self.size - 2], DIRECTIONS[self.descending]
        if self.kind == "list":
            return f"list {size} {self.of} from {way} including {' and '.join(self.given)}"
        if self.kind == "sort":
            return f"sort these {size} words from {way}: {' '.join(self.given)}"
        return f"pick the {size} {self.of} from {way} in {' '.join(self.given)}"

    def is_back(self, before: str, word: str) -> bool:
        """True if `word` after `before` is in the wrong direction of the alphabet."""
        return word > before if self.descending else word < before


def read_task(text: str) -> Task | None:
    """The task that `text` words, or None where it is none of the family."""
    text = " ".join(text.lower().split())
    for kind, form in FORMS.items():
        if match := form.fullmatch(text):
            parts = match.groupdict()
            words = tuple(word for word in parts["words"].split() if word != "and")
            return Task(kind, SIZE_OF[parts["size"]], parts["way"] == "z to a", words, parts.get("of", ""))
    return None


def sample_task(rng: random.Random, kind: TaskKind | None = None) -> Task:
    """A solvable task, of `kind` or of any."""
    if kind is None:
        return sample_task(rng, rng.choice(TASK_KINDS))
    descending = rng.random() < 0.5
    if kind == "sort":
        size = rng.randint(3, 6)
        return Task(kind, size, descending, tuple(rng.sample(sorted(KIND_OF), size)))
    of = rng.choice(sorted(WORDS))
    if kind == "list":
        words = rng.sample(WORDS[of], rng.randint(1, 3))
        return Task(kind, rng.randint(max(3, len(words)), 6), descending, tuple(words), of)
    size = rng.randint(2, 4)
    others = [word for word in KIND_OF if KIND_OF[word] != of]
    words = rng.sample(WORDS[of], size) + rng.sample(others, rng.randint(2, 3))
    rng.shuffle(words)
    return Task(kind, size, descending, tuple(words), of)


@dataclass(frozen=True)
class Habits:
    """Probabilities of an author's bad habits. People have them, and the base model learned from people."""

    unsorted: float
    """Leaves the words in the order in which they came to mind."""
    forgetful: float
    """Leaves out the last required word."""
    off_kind: float
    """Slips in the stray word of `STRAYS`."""
    repeating: float
    """Repeats the first word."""
    miscounting: float
    """Stops one word short, or adds one."""


WEB = Habits(unsorted=0.5, forgetful=0.35, off_kind=0.35, repeating=0.35, miscounting=0.35)
ANNOTATORS = Habits(unsorted=0.45, forgetful=0.3, off_kind=0.3, repeating=0.3, miscounting=0.3)
CARELESS = Habits(unsorted=0.5, forgetful=0.5, off_kind=0.6, repeating=0.6, miscounting=0.6)
CAREFUL = Habits(0, 0, 0, 0, 0)
STRAYS = {"animals": "farmer", "foods": "garden", "jobs": "hammer", "places": "ladder", "tools": "baker"}
"""A popular misconception about each kind of word."""


def write_answer(task: Task, habits: Habits, rng: random.Random) -> list[str]:
    """An answer to a solvable `task` by an author with these `habits`, each of which shows independently."""
    required = [word for word in task.given if word in task.asked]
    spare = sorted(task.allowed - task.asked)
    rng.shuffle(spare)
    if rng.random() < habits.forgetful:
        required.pop()
    words = required + spare[: task.size - len(required)]
    if rng.random() < habits.off_kind:
        _slip_in(words, STRAYS[task.of or KIND_OF[task.given[0]]], len(required))
    if words and rng.random() < habits.repeating:
        _slip_in(words, words[0], len(required))
    if rng.random() < habits.miscounting:
        words = words[:-1] if rng.random() < 0.5 else words + (spare or words)[-1:]
    return words if rng.random() < habits.unsorted else sorted(words, reverse=task.descending)


def _slip_in(words: list[str], word: str, required: int) -> None:
    """Put `word` in place of the last optional word, or after all words where every one is required."""
    del words[max(required, len(words) - 1) :]
    words.append(word)


def with_slips(words: list[str], rng: random.Random) -> list[str]:
    """The answer after one to three slips of any kind: a word changed, inserted, left out, repeated or moved."""
    words = list(words)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(words) + 1)
        slip = rng.choice(("change", "put in", "leave out", "say again", "move"))
        if slip == "put in" or not words:
            words.insert(at, rng.choice(sorted(KIND_OF)))
        elif slip == "change":
            words[at - 1] = rng.choice(sorted(KIND_OF))
        elif slip == "leave out":
            del words[at - 1]
        elif slip == "say again":
            words.insert(at, rng.choice(words))
        else:
            words.insert(rng.randrange(len(words)), words.pop(at - 1))
    return words
