"""Tasks of the checkable world: something to write about a topic, and one to three instructions on how."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from selfreward.lab.checkable.kinds import SEEN, Kind
from selfreward.records import Instruction, Prompt

TOPICS = (
    "the sea", "a small garden", "old trains", "making bread", "rainy days", "a lost dog", "learning to swim", "the moon",
    "honey bees", "a village market", "mountain walks", "keeping a diary", "street music", "a birthday party", "bicycles",
    "winter mornings", "a good teacher", "tea", "the desert", "libraries", "a first job", "football", "cooking soup",
    "painting a wall", "sleep", "a long flight", "growing tomatoes", "the wind", "friendship", "owls", "a family dinner",
    "lighthouses", "running", "chess", "old photographs", "a new school", "the city at night", "horses", "learning a language",
    "a broken clock", "snow", "camping", "shoes", "the night sky", "dentists", "apples", "a slow river", "volcanoes",
    "sharing a room", "fishing", "spring flowers", "saving money", "robots", "elephants", "a thunderstorm", "bridges",
    "letters by post", "the farm", "dancing", "coffee", "whales", "museums", "a walk in the park", "candles", "bus drivers",
    "neighbours", "the theatre", "wool", "maps of the world", "early birds", "a quiet beach", "kites", "doctors", "pottery",
    "rainbows", "the kitchen", "cats", "islands", "magic tricks", "a small shop",
)  # fmt: skip
ASKS = (
    "Write two sentences about {topic}.", "Tell me about {topic} in two sentences.", "Write a short note about {topic}.",
    "Describe {topic} in two sentences.", "Say something short about {topic}.",
)  # fmt: skip
SIZES = (1, 2, 2, 3)
"""Instructions of a task, equally likely each."""
BEST = 6
"""The best score: one, two or three instructions have equal whole parts of it."""
APART = ({"change_case:english_lowercase", "change_case:english_capital"},)
"""Kinds of which a task has one at most."""


class Rule(NamedTuple):
    """One instruction of a task."""

    kind: Kind
    arguments: Mapping[str, Any]


class Task(NamedTuple):
    """A prompt and the instructions in it."""

    text: str
    rules: tuple[Rule, ...]

    @property
    def prompt(self) -> Prompt:
        """The task as a record, with its checks."""
        checks = tuple(Instruction(id=kind.id, kwargs=dict(arguments)) for kind, arguments in self.rules)
        return Prompt(text=self.text, source="seed", checks=checks)


def sample_task(rng: random.Random, kinds: Sequence[Kind] = SEEN, sizes: Sequence[int] = SIZES) -> Task:
    """A task with instructions of different `kinds`."""
    chosen = rng.sample(kinds, rng.choice(sizes))
    while any(len(apart & {kind.id for kind in chosen}) > 1 for apart in APART):
        chosen = rng.sample(kinds, len(chosen))
    rules = tuple(Rule(kind, kind.draw(rng)) for kind in chosen)
    asked = rng.choice(ASKS).format(topic=rng.choice(TOPICS))
    return Task(" ".join([asked, *(kind.wording(arguments, rng) for kind, arguments in rules)]), rules)


def judgment(task: Task, text: str, verdicts: Sequence[bool]) -> str:
    """A walk through the instructions one by one, and the score: the share that is followed, of `BEST`."""
    lines = [
        f"{number}. {kind.named(arguments)}: {kind.note(text, arguments) if kind.note else ''}, {'yes' if holds else 'no'}"
        for number, ((kind, arguments), holds) in enumerate(zip(task.rules, verdicts, strict=True), start=1)
    ]
    return "\n".join([*lines, f"Score: {BEST * sum(verdicts) // len(verdicts)}"])


def followed(task: Task, text: str, rng: random.Random) -> str:
    """The text, changed to follow one instruction after another."""
    for kind, arguments in task.rules:
        text = kind.follow(text, arguments, rng)
    return text


def varied(task: Task, text: str, rng: random.Random) -> str:
    """The text, changed so that it follows each instruction or not by the toss of a coin."""
    for kind, arguments in task.rules:
        text = (kind.follow if rng.random() < 0.5 else kind.breach)(text, arguments, rng)
    return text
