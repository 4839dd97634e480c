"""Novelty among many texts: a new text is no copy of one seen before, and not too near to one by ROUGE-L F (Self-Instruct)."""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from unicodedata import category

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist

WORD = re.compile(r"[a-z0-9]+")
"""A word as ROUGE counts it, in lower case."""
IDEOGRAPH = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
SYLLABIC = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
JOINED = "\u200c\u200d" + "".join(sign for sign in map(chr, range(0x300, 0x1E00)) if category(sign)[0] == "M")
"""Vowel signs, accents and joiners: parts of the word that they stand in, as Hindi, Bengali, Tamil and Persian are written."""
ANY_SCRIPT = rf"[{IDEOGRAPH}]|(?=\w)[{SYLLABIC}][{JOINED}]*+|(?:(?![{IDEOGRAPH}{SYLLABIC}])[^\W_][{JOINED}]*+)++"
"""A word of any script; scripts that write without spaces are taken character by character, with the signs on each."""
WORD_OF_ANY_SCRIPT = re.compile(rf"[A-Za-z0-9]++(?=[\x00-\x7f]|\Z)|(?![\x00-/:-@\[-`{{-\x7f])(?:{ANY_SCRIPT})")
"""`ANY_SCRIPT`, which takes three times as long for words of ASCII."""
NO_SPACES = re.compile(rf"[{IDEOGRAPH}{SYLLABIC}]")
"""A character of a script that writes without spaces: Chinese, Japanese, Thai, Lao, Burmese, Khmer."""
CODES = 0x110000 - 0x800
"""Characters that may stand for a word: all of Unicode but the surrogates."""
Token = tuple[str, int]
"""A word, and the count of its occurrences in its text so far."""


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
        """Indices of the seen texts that have this token among their rarest."""
        self._counts = Counter(token for text in texts for token in _tokens(self._words(text)))
        for text in texts:
            self._remember(text)

    def add(self, text: str) -> bool:
        """True if `text` is new; a new text is remembered."""
        new = plain(text) not in self._same and not self.nearest(text)
        if new:
            self._remember(text)
        return new

    def nearest(self, text: str) -> float:
        """Highest ROUGE-L F of `text` with a text seen before, where that is above the limit; else 0."""
        words = self._words(text)
        posted = [self._posted[token] for token in self._rarest(words) if token in self._posted]
        if not posted:
            return 0.0
        indices = np.unique(np.concatenate([np.frombuffer(places, np.intc) for places in posted]))
        lengths = np.frombuffer(self._lengths, np.intc)[indices]
        possible = _f(np.minimum(lengths, len(words)), lengths + len(words)) > self._limit
        candidates = [self._seen[place] for place in indices[possible]]
        common = cdist([self._encode(words)], candidates, scorer=LCSseq.similarity)[0]
        f_scores = _f(common, lengths[possible] + len(words))
        return float(max(f_scores[f_scores > self._limit], default=0.0))

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
        """The fewest of a text's rarest tokens such that a text with none of them has too few words in common to be near."""
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
    """`text` in lower case and with single spaces: two texts that differ in these alone are copies."""
    return " ".join(text.lower().split())


def _tokens(words: Iterable[str]) -> Iterator[Token]:
    """Each word with the count of its occurrences so far, so that no two tokens are equal."""
    counts = Counter[str]()
    for word in words:
        counts[word] += 1
        yield word, counts[word]


def _f(common: NDArray[np.signedinteger], total: NDArray[np.signedinteger]) -> NDArray[np.floating]:
    """ROUGE-L F1, from the lengths of longest common subsequences and the summed lengths of both texts."""
    return 2 * common / total


def _code(number: int) -> str:
    number %= CODES  # a word in a million may share a character with another
    return chr(number if number < 0xD800 else number + 0x800)
