"""Kinds of instruction: wordings, a program that follows or breaks one in a text, and a careful reader's note on it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Arguments = Mapping[str, Any]
Change = Callable[[str, Arguments, random.Random], str]

NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}
ENDINGS = ("That is all.", "I hope this helps.", "What do you think?", "Thank you for reading.", "Ask me anything.")
WORDS = (
    "bright", "careful", "gentle", "ancient", "simple", "golden", "hidden", "quiet", "famous", "useful", "strange", "honest",
    "winter", "market", "bridge", "window", "harbor", "lantern", "feather", "whisper",
)  # fmt: skip
COMMON = ("the", "and", "is", "of", "to", "a", "in")


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
    """What a careful reader sees in a text; None for kinds that are held out."""

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
    return NUMBERS.get(value, str(value)) if isinstance(value, int) else str(value)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def _without(text: str, word: str, other: str) -> str:
    return re.sub(rf"\b{re.escape(word)}\b", other, text, flags=re.IGNORECASE)


def _with_word(text: str, word: str, rng: random.Random) -> str:
    parts = text.split(" ")
    parts.insert(rng.randrange(len(parts)) + 1 if parts else 0, word)
    return " ".join(parts)


def _note_comma(text: str, _: Arguments) -> str:
    place = re.search(r"(\S*),", text)
    return f'"{place[1][-12:]}," has one' if place else "none"


def _break_comma(text: str, _: Arguments, rng: random.Random) -> str:
    parts = text.split(" ")
    at = rng.randrange(len(parts))
    parts[at] = parts[at].rstrip(".,") + ","
    return " ".join(parts)


def _note_case(text: str, _: Arguments) -> str:
    letters = [letter for letter in text if letter.isalpha()]
    if all(map(str.islower, letters)):
        return "all small"
    return "all capital" if all(map(str.isupper, letters)) else "both cases"


def _note_quotes(text: str, _: Arguments) -> str:
    text = text.strip()
    return f"begins with {_edge(text[:1])}, ends with {_edge(text[-1:])}"


def _edge(character: str) -> str:
    return "a quote" if character == '"' else "a letter" if character.isalpha() else "a mark"


def _note_end(text: str, _: Arguments) -> str:
    return f'the last words are "{" ".join(text.split()[-4:])[-32:]}"'


def _note_words(text: str, arguments: Arguments) -> str:
    named: list[str] = arguments.get("keywords") or arguments["forbidden_words"]
    return ", ".join(f"{word} {'is there' if _has_word(text, word) else 'is missing'}" for word in named)


def _note_length(text: str, _: Arguments) -> str:
    count = len(_words(text))
    return f"about {round(count, -1) if count >= 10 else count} words"


BULLET = re.compile(r"^\s*\*[^\*].*$|^\s*-.*$", re.MULTILINE)


def _note_bullets(text: str, _: Arguments) -> str:
    count = len(BULLET.findall(text))
    return " ".join(["bullets", *(str(number) for number in range(1, min(count, 8) + 1))]) if count else "no bullet"


def _bullets(text: str, arguments: Arguments, _: random.Random) -> str:
    count = arguments["num_bullets"]
    parts = [part.strip(" *-") for part in re.split(r"\n+|(?<=[.!?])\s+", text) if part.strip(" *-")]
    parts = (parts * count)[:count] if parts else ["yes"] * count
    return "\n".join(f"* {part}" for part in parts)


def _other_bullets(text: str, arguments: Arguments, rng: random.Random) -> str:
    wrong = rng.choice([number for number in range(1, 6) if number != arguments["num_bullets"]])
    return _bullets(text, {"num_bullets": wrong}, rng)


def _shorter(text: str, arguments: Arguments, rng: random.Random) -> str:
    most = rng.randint(max(arguments["num_words"] // 2, 3), arguments["num_words"] - 2)
    return " ".join(text.split()[:most]).rstrip(",") + "."


def _longer(text: str, arguments: Arguments, rng: random.Random) -> str:
    words = text.split() or ["yes"]
    least = arguments["num_words"] + rng.randint(2, 15)
    return " ".join((words * (least // len(words) + 1))[: max(least, len(words))])


def _end(text: str, arguments: Arguments, _: random.Random) -> str:
    return f"{text.rstrip()} {arguments['end_phrase']}"


def _other_end(text: str, arguments: Arguments, rng: random.Random) -> str:
    text = _without(text, arguments["end_phrase"], "").replace(arguments["end_phrase"], "").rstrip()
    other = [ending for ending in ENDINGS if ending != arguments["end_phrase"]]
    return f"{text} {rng.choice(other)}" if rng.random() < 0.3 else text


def _unquote(text: str, _: Arguments, rng: random.Random) -> str:
    text = text.strip().strip('"')
    return rng.choice((text, text, f'"{text}', f'{text}"'))


def _keep(text: str, _: Arguments, __: random.Random) -> str:
    return text


def _add_words(text: str, arguments: Arguments, rng: random.Random) -> str:
    for word in arguments["keywords"]:
        text = text if _has_word(text, word) else _with_word(text, word, rng)
    return text


def _lose_word(text: str, arguments: Arguments, rng: random.Random) -> str:
    return _without(text, rng.choice(arguments["keywords"]), "thing")


def _lose_forbidden(text: str, arguments: Arguments, _: random.Random) -> str:
    for word in arguments["forbidden_words"]:
        text = _without(text, word, "that")
    return text


def _add_forbidden(text: str, arguments: Arguments, rng: random.Random) -> str:
    return _add_words(text, {"keywords": [rng.choice(arguments["forbidden_words"])]}, rng)


def _with_title(text: str, _: Arguments, rng: random.Random) -> str:
    return f"<<{rng.choice(WORDS).capitalize()}>>\n{text}"


def _without_title(text: str, _: Arguments, rng: random.Random) -> str:
    text = re.sub(r"<<.*?>>", "", text)
    return f"{rng.choice(WORDS).capitalize()}\n{text}" if rng.random() < 0.5 else text


def _with_postscript(text: str, _: Arguments, rng: random.Random) -> str:
    return f"{text}\nP.S. It is {rng.choice(WORDS)}."


def _without_postscript(text: str, _: Arguments, __: random.Random) -> str:
    return re.sub(r"p\.\s?s\.", "", text, flags=re.IGNORECASE)


def _often(text: str, arguments: Arguments, rng: random.Random) -> str:
    for _ in range(arguments["frequency"]):
        text = _with_word(text, arguments["keyword"], rng)
    return text


def _seldom(text: str, arguments: Arguments, rng: random.Random) -> str:
    text = _without(text, arguments["keyword"], "thing")
    return _with_word(text, arguments["keyword"], rng) if rng.random() < 0.5 else text


def _with_places(text: str, arguments: Arguments, rng: random.Random) -> str:
    for _ in range(arguments["num_placeholders"]):
        text = _with_word(text, f"[{rng.choice(WORDS)}]", rng)
    return text


def _without_places(text: str, _: Arguments, rng: random.Random) -> str:
    return text.replace("[", "").replace("]", "")


SEEN: tuple[Kind, ...] = (
    Kind(
        "punctuation:no_comma",
        ("Do not use any commas.", "Use no commas.", "Write it without commas."),
        lambda rng: {},
        lambda text, _, __: text.replace(",", ""),
        _break_comma,
        "no commas",
        _note_comma,
    ),
    Kind(
        "change_case:english_lowercase",
        ("Write everything in small letters.", "Use only lowercase letters.", "Do not use capital letters."),
        lambda rng: {},
        lambda text, _, __: text.lower(),
        lambda text, _, __: text[:1].upper() + text[1:],
        "small letters only",
        _note_case,
    ),
    Kind(
        "change_case:english_capital",
        ("Write everything in capital letters.", "Use only capital letters.", "Write it all in uppercase."),
        lambda rng: {},
        lambda text, _, __: text.upper(),
        lambda text, _, __: text.capitalize(),
        "capital letters only",
        _note_case,
    ),
    Kind(
        "startend:quotation",
        ("Put your whole answer in double quotation marks.", "Wrap the whole answer in double quotation marks."),
        lambda rng: {},
        lambda text, _, __: '"' + text.strip().strip('"') + '"',
        _unquote,
        "in quotation marks",
        _note_quotes,
    ),
    Kind(
        "startend:end_checker",
        ('End with the exact words "{end_phrase}"', 'The last words must be "{end_phrase}"'),
        lambda rng: {"end_phrase": rng.choice(ENDINGS)},
        _end,
        _other_end,
        'ends with "{end_phrase}"',
        _note_end,
    ),
    Kind(
        "keywords:existence",
        ("Use the words {keywords}.", "Include the words {keywords}.", "The words {keywords} must be in it."),
        lambda rng: {"keywords": rng.sample(WORDS, 2)},
        _add_words,
        _lose_word,
        "has {keywords}",
        _note_words,
    ),
    Kind(
        "keywords:forbidden_words",
        ("Do not use the words {forbidden_words}.", "Avoid the words {forbidden_words}."),
        lambda rng: {"forbidden_words": rng.sample(COMMON, 2)},
        _lose_forbidden,
        _add_forbidden,
        "without {forbidden_words}",
        _note_words,
    ),
    Kind(
        "length_constraints:number_words",
        ("Use fewer than {num_words} words.", "Write less than {num_words} words."),
        lambda rng: {"num_words": rng.choice((15, 20, 30, 40)), "relation": "less than"},
        _shorter,
        _longer,
        "fewer than {num_words} words",
        _note_length,
    ),
    Kind(
        "detectable_format:number_bullet_lists",
        (
            "Give exactly {num_bullets} bullet points, each starting with *.",
            "List exactly {num_bullets} items, each starting with *.",
        ),
        lambda rng: {"num_bullets": rng.randint(2, 4)},
        _bullets,
        _other_bullets,
        "{num_bullets} bullets",
        _note_bullets,
    ),
)
"""Kinds that seeds ask for, and judgments in EFT walk through."""

UNSEEN: tuple[Kind, ...] = (
    Kind(
        "detectable_format:title",
        ("Give it a title in double angle brackets, such as <<title>>.",),
        lambda rng: {},
        _with_title,
        _without_title,
    ),
    Kind(
        "detectable_content:postscript",
        ("Add a postscript that begins with {postscript_marker}",),
        lambda rng: {"postscript_marker": "P.S."},
        _with_postscript,
        _without_postscript,
    ),
    Kind(
        "keywords:frequency",
        ("Use the word {keyword} at least {frequency} times.",),
        lambda rng: {"keyword": rng.choice(WORDS), "frequency": rng.randint(2, 3), "relation": "at least"},
        _often,
        _seldom,
    ),
    Kind(
        "detectable_content:number_placeholders",
        ("Put at least {num_placeholders} of these in it: a placeholder in square brackets, such as [name].",),
        lambda rng: {"num_placeholders": rng.randint(1, 2)},
        _with_places,
        _without_places,
    ),
)
"""Kinds that are in held-out prompts and rankings alone."""
