"""New prompts, few-shot from the ones there are, through Self-Instruct's filters (paper, section 2.2, step 1).

Template, splitting and filters are those of Self-Instruct (Wang et al. 2022), for tasks that are not classification.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterable, Sequence
from pathlib import Path

from rapidfuzz.distance import LCSseq

from selfreward.config import PromptsConfig
from selfreward.errors import SelfRewardError
from selfreward.records import Checkpoint, Completion, Dropped, Prompt, Proposal, Request, content_id, read_jsonl

HEADER = "Come up with a series of tasks:"
OWN_NUMBER = re.compile(r"\A\s*\d+\s?\.(?=\s)")
"""The number that the list left open, which chat models write once more."""
NEXT_ITEM = re.compile(r"\n\s*\d+\s?\.(?=\s|\Z)")
"""Where the writer goes on to the task after the one it was asked for."""
OWN_ANSWER = re.compile(r"\n\s*(?:[-=*#_]{3,}|[*#]*[ \t]*(?:answer|response|output|solution|assistant)[*]*\s*:)", re.IGNORECASE)
"""Where the writer stops asking and starts to answer (paper, appendix A.5)."""
WORD = re.compile(r"[a-z0-9]+")
"""What ROUGE counts as a word, in lower case."""


def plan_prompts(
    seeds: Sequence[Prompt], written: Sequence[Prompt], config: PromptsConfig, model: Checkpoint, seed: int, iteration: int
) -> list[Request]:
    """Requests for new prompts, each with its own shots: from `seeds`, and from those `written` in earlier iterations."""
    requests = []
    for index in range(config.per_iteration):
        rng = random.Random(f"{seed} {iteration} {index}")
        shots = _shots(seeds, written, config, rng)
        listed = [f"{number}. {' '.join(prompt.text.split())}" for number, prompt in enumerate(shots, start=1)]
        text = "\n".join([HEADER, *listed, f"{len(shots) + 1}."])
        about = content_id("shots", [prompt.id for prompt in shots])
        requests.append(Request.user_turn(about, index, text, config.sampling, model, seed))
    return requests


def _shots(seeds: Sequence[Prompt], written: Sequence[Prompt], config: PromptsConfig, rng: random.Random) -> list[Prompt]:
    own = rng.sample(written, min(config.shots_self, len(written)))
    given = rng.sample(seeds, min(config.shots_seed + config.shots_self - len(own), len(seeds)))
    shots = given + own
    rng.shuffle(shots)
    return shots


def read_proposal(request: Request, completion: Completion) -> Proposal:
    """What the writer wrote, uncut."""
    return Proposal(request_id=request.id, text=completion.text, finish=completion.finish)


def choose_prompts(
    proposals: Iterable[Proposal],
    seeds: Sequence[Prompt],
    accepted: Sequence[Prompt],
    heldout: Sequence[Prompt],
    config: PromptsConfig,
) -> tuple[list[Prompt], list[Dropped]]:
    """The proposals that are new and fit to be asked, and the others with the first reason against each.

    Near is measured against all seeds and everything accepted, in earlier iterations (`accepted`) and in this one.
    """
    near = Novelty([prompt.text for prompt in (*seeds, *accepted)], config.max_rouge_l)
    forbidden = {_plain(prompt.text) for prompt in heldout}
    kept, dropped = [], []
    for proposal in proposals:
        text = cut(proposal.text)
        reason = unfit(text, proposal, config) or ("held_out" if _plain(text) in forbidden else near.add(text))
        if reason:
            dropped.append(Dropped(id=proposal.id, stage="prompts", reason=reason))
        else:
            kept.append(Prompt(text=text, source="self"))
    return kept, dropped


def take_prompts(config: PromptsConfig, t: int, heldout: Sequence[Prompt]) -> tuple[list[Prompt], list[Dropped]]:
    """M_t's part of the user's own prompt file; repeated and held-out ones are dropped."""
    file, first = str(config.source), (t - 2) * config.per_iteration
    mine = read_jsonl(Path(file), Prompt)[first : first + config.per_iteration]
    if not mine:
        what = f"has no prompts left for M{t}, which takes {config.per_iteration} from number {first + 1} on"
        raise SelfRewardError(what, file, "Add prompts, or lower prompts.per_iteration or iterations")
    forbidden, seen, kept, dropped = {_plain(prompt.text) for prompt in heldout}, set[str](), [], []
    for prompt in mine:
        reason = "held_out" if _plain(prompt.text) in forbidden else "repeated" if prompt.id in seen else None
        if reason:
            dropped.append(Dropped(id=prompt.id, stage="prompts", reason=reason))
        else:
            kept.append(prompt)
        seen.add(prompt.id)
    return kept, dropped


def cut(text: str) -> str:
    """The first task in what the writer wrote: up to the next number, or to where it begins to answer itself."""
    plain = " ".join(_asked(text).split())
    return plain[:1].upper() + plain[1:]


def _asked(text: str) -> str:
    return OWN_ANSWER.split(NEXT_ITEM.split(OWN_NUMBER.sub("", text), maxsplit=1)[0], maxsplit=1)[0]


def unfit(text: str, proposal: Proposal, config: PromptsConfig) -> str | None:
    """Why a prompt is not fit to be asked, or None."""
    words, lower = len(text.split()), text.lower()
    went_on = _asked(proposal.text) != OWN_NUMBER.sub("", proposal.text)
    checks = {
        "writer_failed": proposal.finish == "error",
        "ran_on": proposal.finish == "length" and not went_on,
        "too_short": words < config.min_words,
        "too_long": words > config.max_words,
        "not_for_text": any(re.search(rf"(?<!\w){re.escape(word.lower())}(?!\w)", lower) for word in config.unsuited),
        "program": lower.startswith("write a program"),
        "punctuation_first": text[:1] in string.punctuation,
        "not_ascii": config.ascii_only and not text[:1].isascii(),
        "malformed": config.form is not None and re.fullmatch(config.form, text, re.IGNORECASE) is None,
    }
    return next((reason for reason, found in checks.items() if found), None)


class Novelty:
    """Texts seen so far; tells whether another is one of them, or too near to one by ROUGE-L F."""

    def __init__(self, texts: Iterable[str], limit: float) -> None:
        self._limit = limit
        self._same: set[str] = set()
        self._seen: list[list[str]] = []
        for text in texts:
            self._remember(text, WORD.findall(text.lower()))

    def add(self, text: str) -> str | None:
        """None if `text` is new, which is then remembered; else the reason against it."""
        words = WORD.findall(text.lower())
        if _plain(text) in self._same or any(rouge_l(words, seen) > self._limit for seen in self._seen):
            return "not_novel"
        self._remember(text, words)
        return None

    def _remember(self, text: str, words: list[str]) -> None:
        self._same.add(_plain(text))  # ROUGE sees no word at all in most of the world's scripts
        self._seen.append(words)


def rouge_l(a: Sequence[str], b: Sequence[str]) -> float:
    """ROUGE-L F1 of two lists of words: from the longest common subsequence, 0 to 1."""
    common = LCSseq.similarity(a, b) if a and b else 0
    return 2 * common / (len(a) + len(b)) if common else 0.0


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
