"""Changes of a text that make it follow or break an instruction, and a careful reader's notes on one."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

Arguments = Mapping[str, Any]

NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}
ENDINGS = ("That is all.", "I hope this helps.", "What do you think?", "Thank you for reading.", "Ask me anything.")
WORDS = (
    "bright", "careful", "gentle", "ancient", "simple", "golden", "hidden", "quiet", "famous", "useful", "strange", "honest",
    "winter", "market", "bridge", "window", "harbor", "lantern", "feather", "whisper",
)  # fmt: skip
COMMON = ("the", "and", "is", "of", "to", "a", "in")


def words_in(text: str) -> list[str]:
    """Every word of a text."""
    return re.findall(r"\w+", text)


def has_word(text: str, word: str) -> bool:
    """True if a text has a word, in whatever case."""
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def without(text: str, word: str, other: str) -> str:
    """A text with `other` in place of a word."""
    return re.sub(rf"\b{re.escape(word)}\b", other, text, flags=re.IGNORECASE)


def with_word(text: str, word: str, rng: random.Random) -> str:
    """A text with a word put in somewhere."""
    parts = text.split(" ")
    parts.insert(rng.randrange(len(parts)) + 1 if parts else 0, word)
    return " ".join(parts)


def note_comma(text: str, _: Arguments) -> str:
    """The first comma."""
    if place := re.search(r"(\S+),", text):
        return f'"{place[1][-12:]}," has one'
    return "has one" if "," in text else "none"


def break_comma(text: str, _: Arguments, rng: random.Random) -> str:
    """A text with a comma."""
    parts = text.split(" ")
    at = rng.randrange(len(parts))
    parts[at] = parts[at].rstrip(".,") + ","
    return " ".join(parts)


def note_capital(text: str, _: Arguments) -> str:
    """The first word with a capital letter."""
    return next((f'"{word[:12]}" has a capital' for word in words_in(text) if word != word.lower()), "no capital")


def note_small(text: str, _: Arguments) -> str:
    """The first word with a small letter."""
    return next((f'"{word[:12]}" has a small letter' for word in words_in(text) if word != word.upper()), "no small letter")


def note_edges(text: str, _: Arguments) -> str:
    """The first and the last word, as they stand."""
    words = text.split() or [""]
    return f"from {words[0][:12]} to {words[-1][-12:]}"


def note_end(text: str, _: Arguments) -> str:
    """The last words."""
    return f'the last words are "{" ".join(text.split()[-4:])[-32:]}"'


def note_words(text: str, arguments: Arguments) -> str:
    """The named words, each between its neighbours."""
    named: list[str] = arguments.get("keywords") or arguments["forbidden_words"]
    return ", ".join(f"{word}: {near(text, word)}" for word in named)


def near(text: str, word: str) -> str:
    """A word's first place in a text: the word between its neighbours."""
    found = re.search(rf"(?:\S+\s+)?\S*\b{re.escape(word)}\b\S*(?:\s+\S+)?", text, re.IGNORECASE)
    return f'"{" ".join(found[0].split())[:40]}"' if found else "none"


def note_length(text: str, _: Arguments) -> str:
    """The number of words."""
    return f"{len(words_in(text))} words"


BULLET = re.compile(r"^\s*\*[^\*].*$|^\s*-.*$", re.MULTILINE)


def note_bullets(text: str, _: Arguments) -> str:
    """The bullets, numbered, each by its first word."""
    firsts = [(bullet.strip(" *-").split() or ["-"])[0][:12] for bullet in BULLET.findall(text)]
    return ", ".join(f"{number} {first}" for number, first in enumerate(firsts[:8], start=1)) or "no bullet"


def with_bullets(text: str, arguments: Arguments, _: random.Random) -> str:
    """A text as so many bullets."""
    count = arguments["num_bullets"]
    parts = [part.strip(" *-") for part in re.split(r"\n+|(?<=[.!?])\s+", text) if part.strip(" *-")]
    parts = (parts * count)[:count] if parts else ["yes"] * count
    return "\n".join(f"* {part}" for part in parts)


def other_bullets(text: str, arguments: Arguments, rng: random.Random) -> str:
    """A text as another number of bullets."""
    wrong = rng.choice([number for number in range(1, 6) if number != arguments["num_bullets"]])
    return with_bullets(text, {"num_bullets": wrong}, rng)


def shorter(text: str, arguments: Arguments, rng: random.Random) -> str:
    """A text cut below a number of words."""
    most = rng.randint(max(arguments["num_words"] // 2, 3), arguments["num_words"] - 2)
    return " ".join(text.split()[:most]).rstrip(",") + "."


def longer(text: str, arguments: Arguments, rng: random.Random) -> str:
    """A text repeated beyond a number of words."""
    words = text.split() or ["yes"]
    least = arguments["num_words"] + rng.randint(2, 15)
    return " ".join((words * (least // len(words) + 1))[: max(least, len(words))])


def with_end(text: str, arguments: Arguments, _: random.Random) -> str:
    """A text with the ending that is asked for."""
    return f"{text.rstrip()} {arguments['end_phrase']}"


def other_end(text: str, arguments: Arguments, rng: random.Random) -> str:
    """A text with another ending, or none."""
    text = without(text, arguments["end_phrase"], "").replace(arguments["end_phrase"], "").rstrip()
    other = [ending for ending in ENDINGS if ending != arguments["end_phrase"]]
    return f"{text} {rng.choice(other)}" if rng.random() < 0.3 else text


def unquote(text: str, _: Arguments, rng: random.Random) -> str:
    """A text without one quotation mark at least."""
    text = text.strip().strip('"')
    return rng.choice((text, text, f'"{text}', f'{text}"'))


def add_words(text: str, arguments: Arguments, rng: random.Random) -> str:
    """A text with every keyword."""
    for word in arguments["keywords"]:
        text = text if has_word(text, word) else with_word(text, word, rng)
    return text


def lose_word(text: str, arguments: Arguments, rng: random.Random) -> str:
    """A text without one of the keywords."""
    return without(text, rng.choice(arguments["keywords"]), "thing")


def lose_forbidden(text: str, arguments: Arguments, _: random.Random) -> str:
    """A text without the forbidden words."""
    for word in arguments["forbidden_words"]:
        text = without(text, word, "that")
    return text


def add_forbidden(text: str, arguments: Arguments, rng: random.Random) -> str:
    """A text with one of the forbidden words."""
    return add_words(text, {"keywords": [rng.choice(arguments["forbidden_words"])]}, rng)


def with_title(text: str, _: Arguments, rng: random.Random) -> str:
    """A text below a title."""
    return f"<<{rng.choice(WORDS).capitalize()}>>\n{text}"


def without_title(text: str, _: Arguments, rng: random.Random) -> str:
    """A text without a title in brackets."""
    text = re.sub(r"<<.*?>>", "", text)
    return f"{rng.choice(WORDS).capitalize()}\n{text}" if rng.random() < 0.5 else text


def with_postscript(text: str, _: Arguments, rng: random.Random) -> str:
    """A text with a postscript."""
    return f"{text}\nP.S. It is {rng.choice(WORDS)}."


def without_postscript(text: str, _: Arguments, __: random.Random) -> str:
    """A text without one."""
    return re.sub(r"p\.\s?s\.", "", text, flags=re.IGNORECASE)


def often(text: str, arguments: Arguments, rng: random.Random) -> str:
    """A text with a word as often as is asked."""
    for _ in range(arguments["frequency"]):
        text = with_word(text, arguments["keyword"], rng)
    return text


def seldom(text: str, arguments: Arguments, rng: random.Random) -> str:
    """A text with a word once at most."""
    text = without(text, arguments["keyword"], "thing")
    return with_word(text, arguments["keyword"], rng) if rng.random() < 0.5 else text


def with_places(text: str, arguments: Arguments, rng: random.Random) -> str:
    """A text with placeholders."""
    for _ in range(arguments["num_placeholders"]):
        text = with_word(text, f"[{rng.choice(WORDS)}]", rng)
    return text


def without_places(text: str, _: Arguments, rng: random.Random) -> str:
    """A text without placeholders."""
    return text.replace("[", "").replace("]", "")
