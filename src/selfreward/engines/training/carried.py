"""Files of a model that no training changes, put into the folder of what was made of it as they came.

Libraries that save what they loaded write it their own way, and refuse settings that they loaded without a word.
"""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from selfreward.records import readable

GENERATION = "generation_config.json"
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model",
    "*.tiktoken", "chat_template.jinja", "chat_template.json", "additional_chat_templates",
)  # fmt: skip
"""Files of which a tokenizer and its chat templates consist."""


def carry_tokenizer(tokenizer: PreTrainedTokenizerBase, start: Path, folder: Path) -> None:
    """Put the tokenizer of `start`, loaded as `tokenizer`, into `folder`.

    Where its files are not all that it is (it was given the default template; transformers mends one by the settings beside
    it), it is saved as it was loaded.
    """
    for path in sorted(path for pattern in TOKENIZER for path in start.glob(pattern)):
        shutil.copytree(path, folder / path.name) if path.is_dir() else shutil.copyfile(path, folder / path.name)
    if not _alike(folder, tokenizer):
        tokenizer.save_pretrained(folder)


def _alike(folder: Path, tokenizer: PreTrainedTokenizerBase) -> bool:
    again = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return _known_by(again) == _known_by(tokenizer)


def _known_by(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words = backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items())
    return [type(tokenizer), words, tokenizer.chat_template, tokenizer.special_tokens_map]


def carry_generation(generation: GenerationConfig, start: Path, folder: Path, end: int) -> None:
    """Put the generation settings of `start`, loaded as `generation`, into `folder`, so that they stop on the token `end` too."""
    file = start / GENERATION
    if not file.is_file():
        stopping = copy.deepcopy(generation)
        stopping.eos_token_id = _ends(generation.eos_token_id, end)
        stopping.to_json_file(folder / GENERATION, use_diff=True, keys_to_pop=["compile_config"])
        return
    settings = json.loads(readable(file).read_text(encoding="utf-8-sig"))
    ends = _ends(settings.get("eos_token_id"), end)
    if ends == settings.get("eos_token_id"):
        shutil.copyfile(file, folder / GENERATION)
    else:
        text = json.dumps({**settings, "eos_token_id": ends}, indent=2, ensure_ascii=False)
        (folder / GENERATION).write_text(text + "\n", encoding="utf-8")


def _ends(known: int | list[int] | None, end: int) -> int | list[int]:
    """The tokens that generation stops on, in the form in which they are written, with `end` among them."""
    stops = known if isinstance(known, list) else [known]
    if end in stops and known is not None:
        return known
    stops = [*(stop for stop in stops if stop is not None), end]
    return stops if len(stops) > 1 else end
