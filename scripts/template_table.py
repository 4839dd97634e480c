"""Write docs/templates.md: how selfreward reads real chat templates. `python scripts/template_table.py [NAME=FOLDER …]`.

The templates of TRL's package are always there. Others are read from the folders given: llama.cpp's
(`vendor/llama.cpp/models/templates` in the source distribution of llama-cpp-python 0.3.36) and axolotl's
(`axolotl/utils/chat_templates/templates` in its wheel 0.19.0).
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from selfreward.engines.template import FURTHER, SWITCHES, switches
from selfreward.engines.thoughts import parted
from selfreward.engines.tokens import answer_text, completion_ids, decode, prompt_ids, said_by, stops_within, template
from selfreward.errors import SelfRewardError
from selfreward.records import Message

PAGE = Path(__file__).parent.parent / "docs" / "templates.md"
TRL = Path(str(files("trl"))) / "chat_templates"
HEAD = """# Chat templates

How selfreward reads the chat templates that three packages on PyPI carry, written by `python scripts/template_table.py`. A model
reads the generation prompt with **before** after it, when it is not to think: **before** is what stands between the prompt and an
answer in the template's own conversations, and is written by selfreward. **After** is what an answer ends with; its last token is
trained, and generation stops on it.

| thinking | |
| --- | --- |
| none | the template knows no thoughts |
| free | the model may begin one by itself |
| switch | a variable of the template says whether to think |
| open | the prompt begins a thought, whatever is said: selfreward closes it, empty, where the model is not to think |

**Thought** is how a thought and its answer are written when the model is to think (`responses.thinking`,
`judge.thinking`), after the generation prompt that asks for it; `▸` stands first where that prompt has begun the
thought. Templates that write no thoughts in a conversation get the marks that most models use. "Cannot": the token that
ends an answer stands within, so that generation would stop before the answer; thinking is refused.

A system turn is kept, refused, or dropped; "prompt only" is one that is dropped as soon as its answer is there. Where a run has
system turns, in its data or from `responses.system` and `judge.system`, `check` names the models whose templates refuse or drop
them, as errors: nothing is ever sampled or trained without a turn that was asked for. The way out is
`responses.system_role = "user"`: the text of the system turn then stands before that of the first user turn, two line ends
between them, in sampling, training and measuring alike; a judge's system prompt goes into its rubric. "Prompt only" is a warning:
here the turn is in every prompt that is sampled and trained, and other programs, which train on finished conversations, lose it.

Of a conversation each answer is trained after the prompt that sampling would have had there, in a row of its own: of the 177, 40
write past answers in another way than they were given, without their thoughts say, or move the system turn to the last question.

"""
MARKER = re.compile(
    r"<\|[^<>|\s]+\|?>|<[^<>|\s]+\|>|<｜[^<>\n]+?｜>|<(?:s|bos|eos|sep|\w+_of_\w+|SPECIAL_\d+|seed:[be]os|/?assistant|/?user)>|\[\|/?\w+\|\]"
    r"|</s>|\[/?[A-Z_]{3,}\]|\[e~\[|\]~[a-z]\]|\]~!b\["
)
"""Markers that are special tokens in the models they are of."""
THOUGHT = re.compile(r"</?[\w:]*think[\w:]*>|\[/?THINK\]|<\|inner_(?:prefix|suffix)\|>")
"""Markers that are tokens of their own, but no special ones."""
PROMPT_ALONE = re.compile(
    r"(?s)<[\w:]*think[\w:]*>\s*(<seed:cot_budget_reflect>.*?</seed:cot_budget_reflect>\s*)?</[\w:]*think[\w:]*>|</[\w:]*think>"
    r"|<\|START_THINKING\|><\|END_THINKING\|>|<\|channel>thought\s*<channel\|>"
    r"|<\|begin\|>assistant<\|think\|><\|end\|>|Here are my reasoning steps:\s*\[BEGIN FINAL RESPONSE\]"
    r"|<\|START_OF_TURN_TOKEN\|><\|SYSTEM_TOKEN\|>Write 'Action:'.*?\]```<\|END\w+\|>"
)
"""Passages that stand before an answer only while it is to come: empty thoughts, how to call tools."""
ASKED, SAID = "Name a bird.", "The wren, or 2 of them: x != y."
MUSED = "A small one, so that <b>Score: 1</b> is no verdict."


def tokenizer_for(source: str, eos: str | None = "</s>", **special: str) -> Any:
    """A tokenizer of bytes in which every marker that the template `source` writes is a token of its own, as in its model."""
    tokenizer = Tokenizer(models.BPE(vocab={sign: at for at, sign in enumerate(pre_tokenizers.ByteLevel.alphabet())}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    named = {"bos_token": "<s>", "eos_token": eos, "pad_token": "<pad>", **special}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{name: token for name, token in named.items() if token})
    fast.chat_template = source
    seen = source + "".join(_conversations(fast))
    for pattern, is_special in ((MARKER, True), (THOUGHT, False)):
        tokens = sorted(set(pattern.findall(seen) if not pattern.groups else (m[0] for m in pattern.finditer(seen))))
        fast.add_tokens([AddedToken(token, special=is_special, normalized=False) for token in tokens])
    return fast


def _conversations(tokenizer: Any) -> list[str]:
    """Texts that a template writes in any way at all: markers may be put together only there."""
    written = []
    for content in ("x", [{"type": "text", "text": "x"}]):
        turns = [{"role": role, "content": content} for role in ("user", "assistant", "user")]
        further = [{name: value} for name, pairs in FURTHER.items() for pair in pairs for value in pair]
        for upto, said in ((upto, said) for upto in (1, 2, 3) for said in (*SWITCHES.values(), *further)):
            try:
                how = {"tokenize": False, "add_generation_prompt": upto != 2, "tools": [], **said}
                written.append(tokenizer.apply_chat_template(turns[:upto], **how))
            except Exception:  # a template raises what it likes
                continue
    return written


def collection(folder: Path) -> dict[str, str]:
    """The templates in a folder by name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.jinja"))}


def faults(tokenizer: Any) -> list[str]:
    """Whatever is wrong with how a template is read, by what it writes itself of a question, its answer and a turn after that."""
    asked = [Message(role="user", content=ASKED)]
    before, after = prompt_ids(tokenizer, asked), completion_ids(tokenizer, asked, SAID)
    how, end = template(tokenizer), tokenizer.convert_ids_to_tokens(after[-1])
    prompt, stops = decode(tokenizer, before), {how.end, tokenizer.eos_token_id}
    special = {at for at, token in tokenizer.added_tokens_decoder.items() if token.special}
    turns = [("user", ASKED), ("assistant", SAID), ("user", "Another?")]
    own = [_plain(tokenizer, turns[:2], prompt=False), _plain(tokenizer, turns, prompt=True)]
    rest = [text.partition(SAID)[2].lstrip() for text in own if text]
    written = any(end in text for text in rest)
    row = decode(tokenizer, before + after[: None if written else -1])
    found = {
        "the prompt is not the template's": _asked(prompt) != _asked(_plain(tokenizer, turns[:1], prompt=True)) + how.before,
        "generation would not stop at the end": after[-1] not in stops or bool(stops.intersection(after[:-1])),
        "a marker within the answer": bool(special.intersection(after[:-1])),
        "the answer read back is another": answer_text(tokenizer, after[:-1]).strip() != SAID,
        "the template writes it otherwise": not any(_alike(row, text) for text in own if text),
        "another end than the template's": not written and any(MARKER.match(text) for text in rest),
    }
    return [what for what, is_so in (found | _faults_in_thoughts(tokenizer)).items() if is_so]


def _faults_in_thoughts(tokenizer: Any) -> dict[str, bool]:
    """Whatever is wrong with how a model that is to think is asked and read; nothing where it cannot."""
    how, asked = template(tokenizer), [Message(role="user", content=ASKED)]
    if how.thinking == "none" or stops_within(tokenizer):
        return {}
    after = completion_ids(tokenizer, asked, SAID, MUSED)
    prompt, said = decode(tokenizer, prompt_ids(tokenizer, asked, True)), said_by(tokenizer, after[:-1])
    told = _asked(_plain(tokenizer, [("user", ASKED)], prompt=True, think=True))
    return {
        "the prompt for a thought is not the template's": _asked(prompt) != told,
        "the thought read back is another": said.thought != MUSED,
        "the answer behind a thought is another": said.answer.strip() != SAID or not said.whole,
        "a thought without an end passes for an answer": parted(how.thought.opening + MUSED, how.thought.opened).whole,
        "generation would not stop at the end of an answer with a thought": after.count(how.end) != 1 or after[-1] != how.end,
    }


def _plain(tokenizer: Any, turns: list[tuple[str, str]], *, prompt: bool, think: bool = False) -> str | None:
    """The text that transformers makes of the turns; None where the template refuses them."""
    how = template(tokenizer)
    said = [{"role": role, "content": [{"type": "text", "text": text}] if how.parts else text} for role, text in turns]
    lists = {"tools": [], "documents": []} if how.tools else {}
    try:
        return str(
            tokenizer.apply_chat_template(
                said, tokenize=False, add_generation_prompt=prompt, **lists, **switches(think, how.switch)
            )
        )
    except Exception:
        return None


def _asked(text: str | None) -> str:
    """A conversation from the question on: some templates write the day before it."""
    return ASKED.join(str(text).split(ASKED)[1:])


def _alike(row: str, written: str) -> bool:
    """Whether the finished conversation begins as the row does, but for what stands in prompts alone, and white space."""
    ours, theirs = ("".join(PROMPT_ALONE.sub("", _asked(text)).split()) for text in (row, written))
    return theirs.startswith(ours)


def row(source: str) -> tuple[str, str, str, str, str, str]:
    """(before, after, thinking, thought, system turn, verdict) of a template."""
    tokenizer = tokenizer_for(source)
    try:
        how = template(tokenizer)
    except SelfRewardError as error:
        return "", "", "", "", "", f"refused: {error.what.removeprefix('its chat template ')}"
    after = how.lead + "…" + how.tail + tokenizer.convert_ids_to_tokens(how.end)
    thought = "" if how.thinking == "none" else "cannot" if stops_within(tokenizer) else _code(_written(tokenizer))
    return _code(how.before), _code(after), how.thinking, thought, how.system, "; ".join(faults(tokenizer)) or "right"


def _written(tokenizer: Any) -> str:
    how = template(tokenizer)
    return f"{'▸' if how.thought.opened else ''}{how.thought.opening}…{how.thought.closing}…"


def page(collections: dict[str, Path]) -> str:
    """The whole page."""
    tables = {
        name: [(template, *row(source)) for template, source in collection(folder).items()]
        for name, folder in collections.items()
    }
    verdicts = Counter(_kind(line[-1]) for table in tables.values() for line in table)
    counted = ", ".join(f"{verdicts[kind]} {kind}" for kind in ("right", "refused", "wrong"))
    return f"{HEAD}{verdicts.total()} templates: {counted}.\n\n" + "\n".join(part(name, table) for name, table in tables.items())


def lines(folder: Path) -> list[tuple[str, ...]]:
    """(name, before, after, thinking, thought, system turn, verdict) of each template in a folder."""
    return [(name, *row(source)) for name, source in collection(folder).items()]


def part(name: str, table: Sequence[tuple[str, ...]]) -> str:
    """One collection's part of the page."""
    head = ("template", "before", "after", "thinking", "thought", "system turn", "verdict")
    return f"## {name}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *table))


def _kind(verdict: str) -> str:
    return verdict if verdict == "right" else "refused" if verdict.startswith("refused") else "wrong"


def _code(text: str) -> str:
    shown = text.replace("\n", "\\n").replace("|", "\\|")
    return f"`{shown}`" if shown else ""


if __name__ == "__main__":
    given = {name: Path(folder) for name, _, folder in (argument.partition("=") for argument in sys.argv[1:])}
    PAGE.write_text(page({"TRL 1.16": TRL, **given}), encoding="utf-8")
