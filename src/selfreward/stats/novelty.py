"""Novelty among many texts: a new text is no copy of one seen before, and not too near to one by ROUGE-L F (Self-Instruct)."""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist

WORD = re.compile(r"[a-z0-9]+")
"""A word as ROUGE counts it, in lower case."""
IDEOGRAPH = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD_OF_ANY_SCRIPT = re.compile(rf"[^\W_{IDEOGRAPH}]+|[{IDEOGRAPH}]")
"""A word of any script; scripts that write without spaces are taken character by character."""
NO_SPACES = re.compile(rf"[{IDEOGRAPH}\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
"""A character of a script that writes without spaces: Chinese, Japanese, Thai, Lao, Burmese, Khmer."""
CODES = 0x110000 - 0x800
"""Characters that may stand for a word: all of Unicode but the surrogates."""
Token = tuple[str, int]
"""A word, and how often it has occurred up to here in its text."""


class Novelty:
    """Texts seen so far; tells whether another is one of them, or nearer to one than `limit` (0 to 1).

    F of two texts is above the limit only where they share enough words, in whatever order. Then they share one among the
    rarest of each as well (prefix filtering: Chaudhuri et al. 2006), and no other texts are compared. What is pruned could
    not have been near: the decisions are those of comparing everything with everything.
    """

    def __init__(self, texts: Sequence[str], limit: float, word: re.Pattern[str] = WORD) -> None:
        self._limit, self._word = limit, word
        self._same: set[str] = set()
        self._codes: dict[str, str] = {}
        self._seen: list[str] = []
        """A character for each word."""
        self._lengths = array("i")
        self._posted: defaultdict[Token, array[int]] = defaultdict(lambda: array("i"))
        """Where among the seen a text has this token among its rarest."""
        self._counts = Counter(token for text in texts for token in _tokens(self._words(text)))
        for text in texts:
            self._remember(text)

    def add(self, text: str) -> bool:
        """Whether `text` is new; it is remembered if it is."""
        new = plain(text) not in self._same and not self.nearest(text)
        if new:
            self._remember(text)
        return new

    def nearest(self, text: str) -> float:
        """ROUGE-L F of `text` and the text nearest to it, where that is above the limit; else 0."""
        words = self._words(text)
        posted = [self._posted[token] for token in self._rarest(words) if token in self._posted]
        if not posted:
            return 0.0
        at = np.unique(np.concatenate([np.frombuffer(places, np.intc) for places in posted]))
        lengths = np.frombuffer(self._lengths, np.intc)[at]
        possible = _f(np.minimum(lengths, len(words)), lengths + len(words)) > self._limit
        candidates = [self._seen[place] for place in at[possible]]
        common = cdist([self._encode(words)], candidates, scorer=LCSseq.similarity)[0]
        found = _f(common, lengths[possible] + len(words))
        return float(max(found[found > self._limit], default=0.0))

    def _words(self, text: str) -> list[str]:
        return self._word.findall(text.lower())

    def _remember(self, text: str) -> None:
        words = self._words(text)
        for token in self._rarest(words):
            self._posted[token].append(len(self._seen))
        self._same.add(plain(text))  # there may be no word in it at all
        self._seen.append(self._encode(words))
        self._lengths.append(len(words))

    def _rarest(self, words: Sequence[str]) -> list[Token]:
        """The fewest of a text's rarest tokens such that a text without any of them shares too few to be near."""
        share = self._limit / (2 - self._limit)  # the least that any text above the limit has in common with this one
        common = math.floor(share * len(words) - 1e-9) + 1
        ordered = sorted(_tokens(words), key=lambda token: (self._counts[token], -len(token[0]), token))
        return ordered[: len(words) - common + 1]

    def _encode(self, words: Iterable[str]) -> str:
        return "".join(self._codes.setdefault(word, _code(len(self._codes))) for word in words)


def count_words(text: str) -> int:
    """Words between spaces, and the words that ROUGE counts where a script writes without spaces."""
    return sum(len(WORD_OF_ANY_SCRIPT.findall(word)) if NO_SPACES.search(word) else 1 for word in text.split())


def plain(text: str) -> str:
    """`text` without what does not tell it from another: case and spaces."""
    return " ".join(text.lower().split())


def _tokens(words: Iterable[str]) -> Iterator[Token]:
    """The words, each with its number among its like, so that no two are equal."""
    seen = Counter[str]()
    for word in words:
        seen[word] += 1
        yield word, seen[word]


def _f(common: NDArray[np.signedinteger], total: NDArray[np.signedinteger]) -> NDArray[np.floating]:
    """ROUGE-L F1, from the lengths of longest common subsequences and the summed lengths of both texts."""
    return 2 * common / total


def _code(number: int) -> str:
    number %= CODES  # a word in a million may share a character with another
    return chr(number if number < 0xD800 else number + 0x800)
