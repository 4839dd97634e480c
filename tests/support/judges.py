"""Models to name by import path: answers and verdicts that follow a rule, so that a result can be worked out by hand."""

import math
import re
from collections import Counter
from typing import ClassVar

from selfreward.records import Completion, Prompt, to_line
from tinyrun import quiet

ASKED = Counter()
"""Requests by id, of every model here."""


def swapped(comparison):
    """The comparison as it is seen from the other side."""
    winner = {"a": "b", "b": "a"}.get(comparison.winner, comparison.winner)
    return comparison.model_copy(update={"a": comparison.b, "b": comparison.a, "winner": winner})


def make_place(folder, monkeypatch, prompts=()):
    """Work in `folder`, with nothing asked yet and `prompts` (texts) in `prompts.jsonl`."""
    monkeypatch.chdir(folder)
    quiet(monkeypatch)
    ASKED.clear()
    monkeypatch.setattr(Scripted, "limit", None)
    if prompts:
        records = [Prompt(text=text, source="seed") for text in prompts]
        (folder / "prompts.jsonl").write_text("".join(to_line(record) + "\n" for record in records))
    return folder


class Scripted:
    """Answers each request by `say`: text, or text and the first token's log-probabilities."""

    limit = None
    """After so many answers the process dies."""

    def batches(self, requests):
        return [[at] for at in range(len(requests))]

    def prepare(self, requests):
        pass

    def generate(self, batch):
        for request in batch:
            if Scripted.limit is not None and ASKED.total() >= Scripted.limit:
                raise KeyboardInterrupt
            ASKED[request.id] += 1
            said = self.say(request.messages[-1].content)
            text, tokens = said if isinstance(said, tuple) else (said, None)
            finish = "error" if text is None else "stop"
            yield Completion(
                request_id=request.id, text=text or "", finish=finish, prompt_tokens=1, completion_tokens=1, first_token=tokens
            )

    def close(self):
        pass


class Echo(Scripted):
    """Answers with the prompt."""

    def say(self, asked):
        return asked


class Failing(Scripted):
    """Answers with the prompt, and fails at anything with `fail` in it."""

    def say(self, asked):
        return None if "fail" in asked else asked


class Terse(Scripted):
    """Answers with the first word."""

    def say(self, asked):
        return asked.split()[0]


def sides(asked):
    """The two texts of our own pairwise prompt."""
    return re.search(r"<first>(.*)</first>\s*<second>(.*)</second>", asked, re.DOTALL).groups()


class Longer(Scripted):
    """Prefers the longer text."""

    def say(self, asked):
        first, second = map(len, sides(asked))
        return f"Verdict: {'tie' if first == second else 'first' if first > second else 'second'}"


class First(Scripted):
    """Always prefers what it sees first."""

    def say(self, asked):
        return "Verdict: first"


class Mute(Scripted):
    """Says nothing that could be read."""

    def say(self, asked):
        return "I would rather not."


class Letters(Scripted):
    """Gives the longer of two outputs three quarters, by log-probabilities; hesitates over anything with `broken` in it."""

    def say(self, asked):
        first, second = re.search(r'"m">(.*)</output>\s*<output model="M">(.*)</output>', asked, re.DOTALL).groups()
        if "broken" in first + second:
            return None if "error" in asked else ("m", None) if "blind" in asked else ("x", {"x": -0.1, "y": -3.0})
        m = 0.75 if len(first) > len(second) else 0.25
        return "m", {"m": math.log(m / 2), "M": math.log((1 - m) / 2), "?": math.log(0.5)}


class Length(Scripted):
    """Scores a response by its words, up to five."""

    def say(self, asked):
        words = len(re.search(r"<response>(.*)</response>", asked, re.DOTALL)[1].split())
        return f"Score: {min(words, 5)}"


class Recorded(Scripted):
    """A model whose answers to AlpacaEval are on record, by instruction in `rows`."""

    rows: ClassVar = {}

    def say(self, asked):
        return self.rows[asked]["output"]


class Playback(Scripted):
    """Gives the log-probabilities on record, each to the letter that now stands for whom it then was given to."""

    def say(self, asked):
        prompt = re.search(r"<instruction>(.*)</instruction>\s*<output model", asked, re.DOTALL)[1]
        row = Recorded.rows[prompt]
        first = re.search(r'<output model="m">(.*)</output>\s*<output model="M">', asked, re.DOTALL)[1]
        model, baseline = ("m", "M") if row["m_denotes"] == "model" else ("M", "m")
        now_model, now_baseline = ("m", "M") if first == row["output"].strip() else ("M", "m")
        return now_model, {now_model: row[f"logprob_{model}"], now_baseline: row[f"logprob_{baseline}"]}


class Rater(Scripted):
    """Rates by what is asked about: by words of the last answer, up to 10; says nothing of a riddle."""

    def say(self, asked):
        answer = re.findall(r"<a>(.*?)</a>", asked, re.DOTALL)[-1]
        return "Who knows?" if "riddle" in answer else f"Of its words: Rating: [[{len(answer.split())}]]"


class Labeller(Longer):
    """Compares by length, and labels prompts by their words; of one with `odd` in it it makes a category up."""

    def say(self, asked):
        if "Complexity: <number>" not in asked:
            return super().say(asked)
        prompt = re.search(r"<instruction>(.*)</instruction>", asked, re.DOTALL)[1]
        category = "oddities" if "odd" in prompt else "coding" if "code" in prompt else "travel and places"
        return f"Category: {category}\nComplexity: {len(prompt.split())}\nLength: one paragraph"


class Arena(Scripted):
    """Prefers the longer answer with Arena-Hard's labels: much, from ten characters more on; of `mute` ones it says nothing."""

    def say(self, asked):
        a, b = re.search(r"<answer_a>(.*)</answer_a>\s*<answer_b>(.*)</answer_b>", asked, re.DOTALL).groups()
        if "mute" in asked:
            return "I would rather not."
        ahead = len(a) - len(b)
        label = "A=B" if not ahead else ("A>>B" if ahead > 9 else "A>B") if ahead > 0 else ("A<<B" if ahead < -9 else "B>A")
        return f"My answer: [[A>>B]] is no answer.\nMy final verdict: [[{label}]]"
