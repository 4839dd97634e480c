"""Kinds of instruction: wordings, a program that follows or breaks one in a text, and a careful reader's note on it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from selfreward.lab.checkable import changes
from selfreward.lab.checkable.changes import Arguments

Change = Callable[[str, Arguments, random.Random], str]


class Kind(NamedTuple):
    """A kind of instruction, by the name that its checker has."""

    id: str
    wordings: tuple[str, ...]
    """Sentences with slots for the arguments."""
    draw: Callable[[random.Random], dict[str, Any]]
    """Arguments of one instruction."""
    follow: Change
    """Change a text into one that follows the instruction."""
    breach: Change
    """Change a text into one that does not."""
    label: str = ""
    """Its name in a note, with slots for the arguments."""
    note: Callable[[str, Arguments], str] | None = None
    """A careful reader's remark on a text; None for kinds that are held out."""

    def wording(self, arguments: Arguments, rng: random.Random) -> str:
        """The instruction in plain English."""
        return rng.choice(self.wordings).format(**_spoken(arguments))

    def named(self, arguments: Arguments) -> str:
        """The name of the instruction in a note."""
        return self.label.format(**_spoken(arguments))


def _spoken(arguments: Arguments) -> dict[str, str]:
    """Arguments as a sentence has them: numbers up to five and lists of words in words."""
    return {name: _said(value) for name, value in arguments.items()}


def _said(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(map(str, value))
    return changes.NUMBERS.get(value, str(value)) if isinstance(value, int) else str(value)


SEEN: tuple[Kind, ...] = (
    Kind(
        "punctuation:no_comma",
        ("Do not use any commas.", "Use no commas.", "Write it without commas."),
        lambda rng: {},
        lambda text, _, __: text.replace(",", ""),
        changes.break_comma,
        "no commas",
        changes.note_comma,
    ),
    Kind(
        "change_case:english_lowercase",
        ("Write everything in small letters.", "Use only lowercase letters.", "Do not use capital letters."),
        lambda rng: {},
        lambda text, _, __: text.lower(),
        lambda text, _, __: text[:1].upper() + text[1:],
        "small letters only",
        changes.note_capital,
    ),
    Kind(
        "change_case:english_capital",
        ("Write everything in capital letters.", "Use only capital letters.", "Write it all in uppercase."),
        lambda rng: {},
        lambda text, _, __: text.upper(),
        lambda text, _, __: text.capitalize(),
        "capital letters only",
        changes.note_small,
    ),
    Kind(
        "startend:quotation",
        ("Put your whole answer in double quotation marks.", "Wrap the whole answer in double quotation marks."),
        lambda rng: {},
        lambda text, _, __: '"' + text.strip().strip('"') + '"',
        changes.unquote,
        "in quotation marks",
        changes.note_edges,
    ),
    Kind(
        "startend:end_checker",
        ('End with the exact words "{end_phrase}"', 'The last words must be "{end_phrase}"'),
        lambda rng: {"end_phrase": rng.choice(changes.ENDINGS)},
        changes.with_end,
        changes.other_end,
        'ends with "{end_phrase}"',
        changes.note_end,
    ),
    Kind(
        "keywords:existence",
        ("Use the words {keywords}.", "Include the words {keywords}.", "The words {keywords} must be in it."),
        lambda rng: {"keywords": rng.sample(changes.WORDS, 2)},
        changes.add_words,
        changes.lose_word,
        "has {keywords}",
        changes.note_words,
    ),
    Kind(
        "keywords:forbidden_words",
        ("Do not use the words {forbidden_words}.", "Avoid the words {forbidden_words}."),
        lambda rng: {"forbidden_words": rng.sample(changes.COMMON, 2)},
        changes.lose_forbidden,
        changes.add_forbidden,
        "without {forbidden_words}",
        changes.note_words,
    ),
    Kind(
        "length_constraints:number_words",
        ("Use fewer than {num_words} words.", "Write less than {num_words} words."),
        lambda rng: {"num_words": rng.choice((15, 20, 30, 40)), "relation": "less than"},
        changes.shorter,
        changes.longer,
        "fewer than {num_words} words",
        changes.note_length,
    ),
    Kind(
        "detectable_format:number_bullet_lists",
        (
            "Give exactly {num_bullets} bullet points, each starting with *.",
            "List exactly {num_bullets} items, each starting with *.",
        ),
        lambda rng: {"num_bullets": rng.randint(2, 4)},
        changes.with_bullets,
        changes.other_bullets,
        "{num_bullets} bullets",
        changes.note_bullets,
    ),
)
"""Kinds that seeds ask for, and judgments in EFT walk through."""

UNSEEN: tuple[Kind, ...] = (
    Kind(
        "detectable_format:title",
        ("Give it a title in double angle brackets, such as <<title>>.",),
        lambda rng: {},
        changes.with_title,
        changes.without_title,
    ),
    Kind(
        "detectable_content:postscript",
        ("Add a postscript that begins with {postscript_marker}",),
        lambda rng: {"postscript_marker": "P.S."},
        changes.with_postscript,
        changes.without_postscript,
    ),
    Kind(
        "keywords:frequency",
        ("Use the word {keyword} at least {frequency} times.",),
        lambda rng: {"keyword": rng.choice(changes.WORDS), "frequency": rng.randint(2, 3), "relation": "at least"},
        changes.often,
        changes.seldom,
    ),
    Kind(
        "detectable_content:number_placeholders",
        ("Put at least {num_placeholders} of these in it: a placeholder in square brackets, such as [name].",),
        lambda rng: {"num_placeholders": rng.randint(1, 2)},
        changes.with_places,
        changes.without_places,
    ),
)
"""Kinds that are in held-out prompts and rankings alone."""
