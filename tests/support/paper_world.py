"""A tiny model that knows the judge's format, for running the paper's whole procedure on real text in a minute.

It is trained a few hundred steps on three things: judgments in the form that the paper's rubric asks for, with scores that
mean nothing; numbered lists of tasks; and plain answers. Good at nothing, it still has to go through every stage. What real
seeds and a real writer would leave out by chance is planted, so that every reason for dropping something occurs.
"""

import random
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from selfreward.engines.sampling.hf import HFModel
from selfreward.engines.training.rows import sft_row
from selfreward.recipe import BackendConfig
from selfreward.records import Completion
from selfreward.steps import HEADER

TEMPLATE = (
    "{% for m in messages %}{{ '<|user|>' if m.role == 'user' else '<|assistant|>' }}{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
SUBJECTS = (
    "the weather",
    "a short story",
    "good bread",
    "old maps",
    "a new phone",
    "green tea",
    "long walks",
    "stars",
    "the sea",
)
VERBS = ("Describe", "Explain", "Summarise", "Compare", "Name", "Recommend", "Discuss", "List")
WORDS = ("clear", "useful", "relevant", "vague", "short", "complete", "direct", "friendly", "careful", "plain")
SCORES = (1, 2, 3, 3, 4, 4, 4, 4, 5)
"""Mostly 4, as the paper found its SFT baseline to judge."""
ONE_ANSWER = {
    "Repeat after me please: hello": "hello",
    "Just say goodbye and nothing else": "goodbye",
    "Which word means many thanks? Use it": "thanks",
    "There is one answer here which is yes": "yes",
    "Write down no, that is all": "no",
    "My favourite word must be maybe": "maybe",
}
"""Prompts to which one answer is planted, so that all candidates are the same text."""
VERDICTS = {"no": "I cannot tell.", "maybe": "Score: 9", "yes": "Score: 5", "never": "Score: 1"}
"""Answer → what is planted as the judge's words on it: no verdict, one that is on no scale, and two that are always the same."""
ENDLESS = "Count on without an end from one please"
"""A prompt to which an answer is planted that never ends."""
UNREADABLE = " ".join("".join(random.Random(n).choices("bcdfghjklmnpqrstvwxz", k=60)) for n in range(140))
"""A prompt of few enough words and more tokens than the tiny model can read, so that nothing it asks for can be judged."""
PLANTED = {
    "writer_failed": ("", "error"),
    "ran_on": ("Tell me everything that there is to say about", "length"),
    "too_short": ("Tell me more.", "stop"),
    "too_long": ("word " * 151, "stop"),
    "not_for_text": ("Draw a picture of a house by the sea", "stop"),
    "program": ("Write a program that sorts a list of names", "stop"),
    "punctuation_first": ("(optional) Tell me about the moon", "stop"),
    "not_ascii": ("Écrivez une lettre à votre ami", "stop"),
    "malformed": ("1 2 3 4 5", "stop"),
}
"""Reason → a proposal that is dropped for it."""


def make_tokenizer(texts):
    """Byte-level BPE of 2,000 tokens."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(texts, vocab_size=2000, special_tokens=SPECIAL, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, pad_token=SPECIAL[0], eos_token=SPECIAL[1])
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[2:]})
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def task(rng):
    """A short instruction."""
    return (
        f"{rng.choice(VERBS)} {rng.choice(WORDS)} {rng.choice(SUBJECTS)} and {rng.choice(SUBJECTS)} for {rng.choice(SUBJECTS)}."
    )


def dialogue(rng, texts, fill):
    """(prompt, answer): a judgment, a list gone on with, or an answer."""
    kind = rng.random()
    if kind < 0.6:
        start = rng.randrange(400)
        judged = rng.choice(texts)[start : start + rng.choice((20, 120, 400))]
        opinion = f"The response is {rng.choice(WORDS)} and {rng.choice(WORDS)}."
        return fill(task(rng), judged), f"{opinion}\nScore: {rng.choice(SCORES)}"
    if kind < 0.8:
        shots = [f"{number}. {rng.choice((task(rng), rng.choice(texts)[:60]))}" for number in range(1, 9)]
        return "\n".join([HEADER, *shots, "9."]), f" {task(rng)}\n10. {task(rng)}"
    return task(rng), f"Here is {rng.choice(WORDS)} {rng.choice(SUBJECTS)}, which is {rng.choice(WORDS)} and {rng.choice(WORDS)}."


def make_base(folder, texts, fill, steps=250, batch=8, seed=0):
    """Train the tiny model and save it in `folder`; `fill(prompt, response)` makes the judge's prompt. Returns the last loss."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    tokenizer = make_tokenizer([*texts, *(fill(task(rng), "") for _ in range(50))])
    end = tokenizer.eos_token_id
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=96, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True, eos_token_id=end, bos_token_id=None,
            pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=3e-4)
    for _ in range(steps):
        rows = sorted((sft_row(tokenizer, *dialogue(rng, texts, fill)) for _ in range(batch)), key=lambda row: len(row["labels"]))
        longest = max(len(row["labels"]) for row in rows)
        ids = torch.tensor([row["input_ids"] + [0] * (longest - len(row["labels"])) for row in rows])
        labels = torch.tensor([row["labels"] + [-100] * (longest - len(row["labels"])) for row in rows])
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.generation_config.eos_token_id = end
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return loss.item()


def planted(request):
    """What is planted as the completion of a request, as a change to it; None where nothing is."""
    asked = request.messages[-1].content
    if asked == ENDLESS:
        return {"text": "and on " * 20, "finish": "length"}
    judged = (words for answer, words in VERDICTS.items() if f"<response>{answer}</response>" in asked)
    text = ONE_ANSWER.get(asked) or next(judged, None)
    return {"text": text, "finish": "stop"} if text else None


def with_what_is_planted(generate):
    """`HFModel.generate`, but for what is planted."""

    def planting(model, batch):
        changes = {request.id: planted(request) for request in batch}
        for completion in generate(model, batch):
            yield completion.model_copy(update=changes[completion.request_id])

    return planting


class Writer:
    """The frozen writer of new prompts: the tiny base, with what is to be dropped planted among its first proposals."""

    base = Path()
    planted: tuple[tuple[str, str], ...] = ()

    def __init__(self):
        self._model = HFModel(self.base, BackendConfig())

    def batches(self, requests):
        return self._model.batches(requests)

    def prepare(self, requests):
        self._model.prepare(requests)

    def generate(self, batch):
        for request, completion in zip(batch, self._in_order(batch), strict=True):
            text, finish = (
                self.planted[request.index] if request.index < len(self.planted) else (completion.text, completion.finish)
            )
            yield Completion(
                request_id=request.id, text=text, finish=finish, prompt_tokens=completion.prompt_tokens,
                completion_tokens=completion.completion_tokens,
            )  # fmt: skip

    def _in_order(self, batch):
        found = {completion.request_id: completion for completion in self._model.generate(batch)}
        return [found[request.id] for request in batch]

    def close(self):
        self._model.close()


def export(rows):
    """Open Assistant message trees, as its export has them, of the published ranked sets that are first turns."""
    return [_tree(row) for row in rows if len(row["context"]) == 1]


def _tree(row):
    replies = [
        _message(f"{row['message_id']}-{n}", "assistant", r["text"], rank=r["rank"]) for n, r in enumerate(row["responses"])
    ]
    asked = _message(row["message_id"], "prompter", row["context"][0]["text"])
    return {"message_tree_id": row["tree_id"], "tree_state": "ready_for_export", "prompt": {**asked, "replies": replies}}


def _message(name, role, text, **more):
    return {
        "message_id": name, "role": role, "text": text, "lang": "en", "review_count": 3, "review_result": True, "deleted": False,
        "synthetic": False, "replies": [], **more,
    }  # fmt: skip


def planted_trees():
    """A tree for each reason to leave one out, and two of which no response can be judged."""
    good = _message("a", "assistant", "It is planted.", rank=0)
    other = _message("b", "assistant", "Who knows?", rank=1)
    roots = {
        "language": {"lang": "de"}, "deleted": {"deleted": True}, "not_reviewed": {"review_result": False},
        "empty": {"text": " "},
    }  # fmt: skip
    replies = {
        "unanswered": [], "one_response": [good], "unranked": [{**good, "rank": None}, other],
        "all_tied": [good, {**other, "rank": 0}],
        "reply_deleted": [good, other, {**other, "deleted": True}],
        "reply_unranked": [good, other, {**other, "rank": None, "text": "nobody ranked me"}],
        "reply_empty": [good, other, {**other, "rank": 2, "text": ""}],
        "unreadable": [{**good, "rank": 2, "text": UNREADABLE}, other],
        "unreadable too": [{**good, "rank": 2, "text": UNREADABLE}, other],
        **{f"against the judge {n}": [{**good, "rank": 2, "text": "yes"}, {**other, "text": "never"}] for n in range(4)},
        **{f"with the judge {n}": [{**good, "rank": 2, "text": "never"}, {**other, "text": "yes"}] for n in range(4)},
    }  # fmt: skip
    asked = {
        name: _message("q", "prompter", f"What is planted here ({name})?", replies=[good, other]) for name in (*roots, *replies)
    }
    trees = [{**asked[name], **change} for name, change in roots.items()]
    trees += [{**asked[name], "replies": given} for name, given in replies.items()]
    return [
        {"message_tree_id": f"planted {n}", "tree_state": "ready_for_export", "prompt": prompt} for n, prompt in enumerate(trees)
    ]
