"""Notes of the page: how it was measured, and what is wrong with an arm's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEAD = """# How long one iteration takes

Made by `selfreward bench` (`make bench`): candidates, judgments and DPO on models with random weights, the same work for every
arm. Every arm runs in a process of its own, once on a few tokens before it is measured; imports are not measured, loading the
model is. All sample at temperature 0.7 and top-p 0.9. No model ever ends a turn, by its weights, so all write the same lengths.
A random model writes no scores: in every arm the CRC-32 of a judgment's text stands for its score. DPO is in float32 on a CPU,
without dropout, batches of 4 pairs; in (a) to (c) its reference's log-probabilities are computed once. Trainings alone
(`selfreward bench trainers`) and engines on real weights (`selfreward bench engines`) have sections of their own."""

TARGETS = (
    "By processor seconds, all threads, of what ran in turn in one sitting; ÷ floor only where there was one thread. "
    "Records at scale have [a page of their own](scale.md)."
)
BUSY = " (more than its cores: read processor seconds side by side, not walls)"
SUPERSEDED = "# Of an earlier build\n\nWhat follows was measured on the build of its date, and not again since."
ARMS = {
    "a": (
        "(a) is what `selfreward run` does between prompts and M2, on disk: requests planned and hashed, every batch journalled "
        "and fsynced, records written and read back, the model of each stage loaded, M2 written."
    ),
    "o": "(o) is (a) of an earlier build, by its own code, on the same model.",
    "b": (
        "(b) is the strongest of what people write by hand. Of the chunks tried, each of its stages has its own best one. It "
        "keeps one model in memory throughout and writes nothing."
    ),
    "c": (
        "(c) re-creates what published scripts do, one `generate()` for every sample; the scripts themselves do not run on a "
        "CPU, or on these libraries."
    ),
    "d": (
        "(d) never ends as its documentation runs it. Overridden so that it does: the training's `num_train_steps`, which it "
        "does not pass on; the length of a judgment, of 256 tokens in all, less than its own prompt; the parser of scores, which "
        "fails on a correct one; and what counts as a valid pair, where a tie drops the rest of the batch. **Its time is for "
        "other, wrong work**: it reads logits at a place of padding, hands the judge the prompt twice, trains on rows with the "
        "prompt twice and the end of the response cut off, takes DPO's log-probabilities of each token at its own place and "
        "not at the one before, and their mean and not their sum. It keeps no cache, so every sampled token reads all before "
        "it again."
    ),
    "e": (
        "(e) samples two candidates of each prompt and no other number, so it stands beside ours at N = 2 and nowhere else. Its "
        "judge is the model in training, which changes with every step; the judge's calls are those of (b)."
    ),
}  # fmt: skip
LEFT = "Of (a)'s time {rest:.1f} % is neither engine nor trainer: planning, hashing, writing, reading back."
DPO = (
    "DPO is {share:.0f} % of it. What would move that: larger batches, for AdamW goes over every weight in each of {steps} "
    "steps; and what it costs once, whatever the number of pairs: loading the model, writing M2."
)
FLOOR = """The floor is the least that the work needs, whoever does it: the judge's constant prefix read once, each prompt in it
once for all its candidates, each candidate once for all its judgments, each sampled token once; logits only where a token is
drawn; bytes as if a whole stage were decoded in one batch. It takes the longer of the multiply-adds at the rate of a large
matrix product and the bytes at the rate of a large copy or of a large read, the faster of them (up to 2026-11-30 of a
copy), all in the same sitting."""
PROFILE = (
    "Shares of the seconds under torch's profiler, which makes them longer. *Drawing* has all softmax outside of attention, the "
    "loss's too; *moving* is copying, gathering and filling; *outside torch* is Python, loading, hashing, reading, writing and "
    "waiting for the disk."
)
OVERHEAD = (
    "A whole run of the recipe; the iterations are what makes M2 and M3 of the model before, without what is measured of them. "
    "Neither engine nor trainer is planning, hashing, writing, reading back, novelty, pairs."
)
UTILISATION = (
    "6 × parameters × tokens over seconds × the floating-point operations of a large matrix product a second. Steps of 4 rows "
    "(of 4 pairs in DPO) of 1,025 tokens, the first step not counted. What is spent on gradient checkpointing and on DPO's "
    "reference counts as nothing, so does that adapters need no gradient of the frozen weights."
)


def tail(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """The notes on the arms that were measured."""
    ran = {arm for part in parts.values() for arm in part.get("arms", ())}
    notes = [text for arm, text in ARMS.items() if arm in ran]
    return "\n\n".join(["## What these are", *notes, FLOOR] if notes else [])


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; the first column is text, the others are figures."""
    lines = [header, ["---", *(["---:"] * (len(header) - 1))], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def load(part: Mapping[str, Any]) -> str:
    """The load of the machine when the measurement began; shared cores give no reliable seconds of the clock."""
    load, cores = part["machine"].get("load"), part["machine"]["cores"]
    if load is None:
        return ""
    return f", a load of {load:.1f} before it began" + (BUSY if load > cores else "")


def threads(count: int) -> str:
    """The number of threads, in words."""
    return f"{count} thread{'s' * (count != 1)}"
