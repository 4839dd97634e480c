"""Conversations as tokens: the one place where sampling and training turn messages into ids, so that they agree.

A training row is the prompt's ids as sampling sees them, the answer's ids as they were sampled, and the token on which generation
stopped. A chat template gives prompts; what stands before an answer and what ends it is read off it once (`template`). Only
people's answers, which nobody sampled, are encoded from text, after the same prompt.

Text in messages is somebody's or some model's words and never markup: special tokens spelt out in it are broken up, and
the template never sees it. It writes stand-ins, so that what it cuts out of a text (`</think>`) or reads in one stays as said.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from weakref import WeakKeyDictionary, WeakSet

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from selfreward.engines.folders import read_settings
from selfreward.engines.template import PROBE, Reader, System, Template, Thinking, bad_template, write
from selfreward.engines.template import encode as encode
from selfreward.engines.thoughts import Said, parted
from selfreward.errors import SelfRewardError
from selfreward.records import Message

PROCESSORS_TEMPLATE = "chat_template.json"
DEFAULT_TEMPLATE = files("selfreward") / "engines" / "chat_template.jinja"
"""The template of models that come without one."""
STAND_IN = re.compile(rf"{PROBE}(\d+)x")
"""A word for the text of the turn with this number, while the template writes."""
ORDINARY = re.compile(r"\w+|[^\w\s]+")
"""A token of letters alone or of signs alone: ordinary text that pads ("!"). Markers (`<pad>`, `[PAD]`) are made of both."""
_WITHOUT: WeakSet[PreTrainedTokenizerBase] = WeakSet()
_TEMPLATES: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[str, Template]] = WeakKeyDictionary()


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder or a GGUF file; one without a chat template is given the default, which is saved with it.

    Raises `SelfRewardError` where nothing ends an answer, or where the template does not write what is said.
    """
    where = (path.parent, {"gguf_file": path.name}) if Path(path).is_file() else (path, {})
    tokenizer = AutoTokenizer.from_pretrained(where[0], trust_remote_code=False, **where[1])
    tokenizer.chat_template = tokenizer.chat_template or _of_processor(Path(where[0]))
    if not tokenizer.chat_template:
        if tokenizer.eos_token is None:
            now = "Name an eos_token in its tokenizer_config.json, or put a chat template beside it"
            raise SelfRewardError("its tokenizer has neither a chat template nor an end of text", str(path), now)
        tokenizer.chat_template = DEFAULT_TEMPLATE.read_text(encoding="utf-8")
        _WITHOUT.add(tokenizer)
    if isinstance(tokenizer.chat_template, dict) and "default" not in tokenizer.chat_template:
        names = ", ".join(tokenizer.chat_template)
        now = 'Name one of them "default", or put it into chat_template.jinja'
        raise SelfRewardError(f"its tokenizer has the chat templates {names}, and no default", str(path), now)
    template(tokenizer)
    return tokenizer


def _of_processor(folder: Path) -> str | None:
    """The chat template in a file of its own that transformers' processors wrote, and its tokenizers do not read."""
    file = folder / PROCESSORS_TEMPLATE
    given = read_settings(file).get("chat_template") if file.is_file() else None
    return given if isinstance(given, str) else None


def came_without_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """True if the tokenizer was loaded from a folder or file without a chat template, and was given the default."""
    return tokenizer in _WITHOUT


def template(tokenizer: PreTrainedTokenizerBase) -> Template:
    """The chat template's way to ask and to answer, read once. Raises `SelfRewardError` where the template cannot be used."""
    source = tokenizer.get_chat_template()
    if tokenizer not in _TEMPLATES or _TEMPLATES[tokenizer][0] != source:
        _TEMPLATES[tokenizer] = source, Reader(tokenizer).read()
    return _TEMPLATES[tokenizer][1]


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the token that ends an answer: the last one trained on, and generation stops on it.

    It need not be the tokenizer's end of text (Qwen's base models, Gemma, Phi).
    """
    return template(tokenizer).end


def system_turn(tokenizer: PreTrainedTokenizerBase) -> System:
    """The fate of a system turn under the tokenizer's chat template."""
    return template(tokenizer).system


def way_of_thinking(tokenizer: PreTrainedTokenizerBase) -> Thinking:
    """The chat template's way to have a model think; `free` only where nothing stops a thought when none is wanted."""
    how = template(tokenizer)
    return "switch" if how.thinking == "free" and how.before else how.thinking


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], think: bool = False) -> list[int]:
    """The ids a model sees before it answers `messages`, or thinks: the template's generation prompt, up to where either begins.

    Raises `SelfRewardError` where the model is to think and generation would stop before its answer.
    """
    return encode(tokenizer, _prompt(tokenizer, messages, think))


def completion_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], response: str, thought: str | None = None
) -> list[int]:
    """The ids of `response`, written by people, as the answer to `messages`: up to and with its end, after `prompt_ids`.

    With a `thought`, the ids of both, after the prompt that asks for one; an empty thought is none that was written.
    """
    how, before = template(tokenizer), _prompt(tokenizer, messages, thought is not None)
    text = neutral(tokenizer, response.strip() if how.trims else response)
    lead = how.lead
    if thought is not None:
        lead = how.thought.opening + neutral(tokenizer, thought) + how.thought.closing if thought else how.before + how.lead
    return [*_continuation(tokenizer, before, before + lead + text + how.tail), how.end]


def said_by(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> Said:
    """The thought and the answer in a completion's ids, its end not among them, after a prompt that asks for a thought."""
    return parted(answer_text(tokenizer, ids), template(tokenizer).thought.opened)


def thought_length(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> int:
    """The number of a completion's ids in its thought, the closing mark included; 0 where there is no thought."""
    start = said_by(tokenizer, ids).start
    return bisect_left(range(len(ids)), start, key=lambda upto: len(decode(tokenizer, ids[:upto]))) if start else 0


def stops_within(tokenizer: PreTrainedTokenizerBase) -> bool:
    """True if the token that ends an answer is also in a thought's marks, so that generation would stop before the answer."""
    return template(tokenizer).end in encode(tokenizer, template(tokenizer).thought.marks)


def answer_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of an answer's ids, its end not among them, without what the template writes between answer and end."""
    text, tail = decode(tokenizer, ids), template(tokenizer).tail.strip()
    return text.rstrip().removesuffix(tail) if tail else text


def _prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], think: bool = False) -> str:
    if not think:
        return _render(tokenizer, messages, prompt=True) + template(tokenizer).before
    if stops_within(tokenizer):
        end, now = tokenizer.convert_ids_to_tokens(template(tokenizer).end), "Set thinking to 0"
        what = f"its chat template ends thoughts with {end} as it ends answers: generation would stop before the answer"
        raise SelfRewardError(what, str(tokenizer.name_or_path), now)
    return _render(tokenizer, messages, prompt=True, think=True)


def _continuation(tokenizer: PreTrainedTokenizerBase, before: str, whole: str) -> list[int]:
    """The ids that `whole` has after those of `before`."""
    first, every = encode(tokenizer, before), encode(tokenizer, whole)
    if every[: len(first)] == first:
        return every[len(first) :]
    # The tokenizer joins characters across the seam, as generation, which starts from `first`, never does.
    return encode(tokenizer, whole[len(before) :])


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of ids to the letter: special tokens show, and no tokenizer tidies "x != y" to "x!= y"."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def neutral(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """`text` with every special token that it spells out broken by a space, so that it encodes as plain text."""
    return _broken(text, _special(tokenizer))


def count_tokens(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> list[int]:
    """The number of tokens in each of `texts`, as what somebody says; all are encoded at once."""
    texts, special = list(texts), _special(tokenizer)
    plain = {text: _broken(text, special) for text in texts}
    ids = tokenizer(list(plain.values()), add_special_tokens=False)["input_ids"] if plain else []
    numbers = dict(zip(plain, map(len, ids), strict=True))
    return [numbers[text] for text in texts]


def _broken(text: str, special: Iterable[str]) -> str:
    for token in special:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def _special(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Every special token; `all_special_tokens` leaves out those without a role (`<|start_header_id|>` of Llama 3).

    Ordinary text that only pads is none: it ends nothing, and in a text it means itself.
    """
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    every = added.union(tokenizer.all_special_tokens)
    pads = {token for token in (tokenizer.pad_token,) if token and ORDINARY.fullmatch(token)}
    return sorted(every - (pads - {tokenizer.eos_token, tokenizer.bos_token}))


def _render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, prompt: bool, think: bool = False) -> str:
    """The conversation as text. Models that would think aloud first are told whether to."""
    how = template(tokenizer)
    texts = [neutral(tokenizer, message.content) for message in messages]
    turns = [(turn.role, _hidden(texts[at], at)) for at, turn in enumerate(messages)]
    text = write(tokenizer, turns, prompt=prompt, parts=how.parts, tools=how.tools, switch=how.switch, think=think)
    if sorted(map(int, STAND_IN.findall(text))) != [at for at, content in enumerate(texts) if content.strip()]:
        raise bad_template(tokenizer, "does not write the text of every turn exactly once")
    return STAND_IN.sub(lambda place: texts[int(place[1])].strip(), text)


def _hidden(text: str, at: int) -> str:
    """A stand-in for what `text` says. The white space around it stays: it is the template that keeps or trims it."""
    stripped = text.strip()
    return text.replace(stripped, f"{PROBE}{at}x", 1) if stripped else text
