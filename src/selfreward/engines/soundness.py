"""The check that the model in a folder can be sampled from and trained: one line for whatever it lacks, before anything begins.

`check`, a run as it begins, both engines and the trainer ask here, and so say the same of a folder. Nothing is listed by
architecture: transformers itself lays the weights' headers over the model that it makes of config.json, with no memory behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from math import isnan
from pathlib import Path
from typing import Any

from selfreward.engines.folders import GIVE, NUMBERS, assert_files, read_settings, weight_files, wrong
from selfreward.errors import SelfRewardError, amount, first_line

LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len")
"""Names of the longest text in tokens."""
SIZES = (
    *LENGTHS, "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "n_embd", "n_layer", "n_head", "rope_theta",
)  # fmt: skip
"""Settings that must be at least 1 wherever they are given."""
OF_ROTATION = ("factor", "rope_theta")
"""Settings of the rotation of positions that must be above 0."""
PRECISIONS = {"float64", "float32", "float16", "bfloat16", "auto"}
OF_EMBEDDINGS = "modules.json"
"""The file by which sentence-transformers knows a model that gives vectors and no text."""
UNKNOWN = "its config.json is no model that transformers knows"
HELD = 1 << 24
"""Numbers checked at a time."""
Stamp = tuple[tuple[str, int, int], ...]


def assert_sound(folder: Path) -> None:
    """Raises `SelfRewardError` where the model in `folder` cannot be sampled from and trained; its numbers are not read."""
    folder = Path(folder)
    try:
        _sound(folder, _stamp(folder))
    except SelfRewardError as error:
        raise SelfRewardError(f"cannot be loaded ({error.what})", str(folder), error.now) from error


def assert_finite(folder: Path) -> None:
    """Raises `SelfRewardError` where a weight is not a number. Reads them all, tensor by tensor."""
    _finite(folder, _stamp(folder))


def _stamp(folder: Path) -> Stamp:
    """Names, sizes and times of a folder's files: findings about the folder hold as long as these stay the same."""
    stats = ((path.name, path.stat()) for path in sorted(folder.glob("*")) if path.exists())
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


@lru_cache
def _sound(folder: Path, _: Stamp) -> None:
    headers = weight_files(folder)
    config = read_config(folder)
    assert_readable(folder, config)
    tensors = {name: shape for header in headers.values() for name, (_, shape) in header.items()}
    _assert_fitting(folder, config, tensors)


def read_config(folder: Path) -> Any:
    """The settings of the model in `folder`, as transformers reads them.

    Raises `SelfRewardError` where transformers has no code of its own for them, or they have no sense.
    """
    from transformers import AutoConfig

    assert_files(folder)
    try:
        settings = read_settings(folder / "config.json")
    except SelfRewardError as error:
        raise SelfRewardError(f"{UNKNOWN} ({error.what})", str(folder), error.now) from error
    _refuse_quantised(folder, settings)
    _refuse_nonsense(folder, settings)
    if (folder / OF_EMBEDDINGS).is_file():
        raise SelfRewardError(f"gives vectors and no text ({OF_EMBEDDINGS})", str(folder), GIVE)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers may raise anything
        own = "it needs code that comes with the model (auto_map), which is never run"
        raise SelfRewardError(f"{UNKNOWN} ({own if 'auto_map' in settings else first_line(error)})", str(folder), GIVE) from error
    _assert_ends(folder / "generation_config.json", int(getattr(config.get_text_config(), "vocab_size", 0)))
    return config


def _assert_ends(file: Path, embeddings: int) -> None:
    """Raises `SelfRewardError` where settings of how to generate, if there are any, name an end that is no token's id."""
    ends = read_settings(file).get("eos_token_id") if file.is_file() else None
    ids = [end for end in (ends if isinstance(ends, list) else [ends]) if end is not None]
    if not all(type(end) is int and 0 <= end < (embeddings or end + 1) for end in ids):
        raise wrong(file, f"says eos_token_id = {ends!r}, which is no token's id", "Correct it, or leave it out")


def is_quantised(folder: Path) -> bool:
    """True if the settings in `folder` say that its weights are in fewer bits than they were trained in."""
    try:
        return bool(_quantised(read_settings(folder / "config.json")))
    except SelfRewardError:  # told of by who reads it whole
        return False


def _quantised(settings: dict[str, Any]) -> Any:
    """The table of a config.json that says how weights are quantised, MLX's too; empty where they are not."""
    tables = (settings, *(part for part in settings.values() if isinstance(part, dict)))
    return next(filter(None, (table.get("quantization_config") or table.get("quantization") for table in tables)), None)


def _refuse_quantised(folder: Path, settings: dict[str, Any]) -> None:
    if quantised := _quantised(settings):
        table = quantised if isinstance(quantised, dict) else {}
        bits = 4 if table.get("load_in_4bit") else 8 if table.get("load_in_8bit") else table.get("bits")
        kind = ", ".join(filter(None, (str(table.get("quant_method", "")), f"{bits} bits" if bits else "")))
        what = (
            f"its weights are quantised already ({kind or 'see config.json'}), and can be neither trained nor merged in that form"
        )
        now = 'Give the model it was made of (trainer.lora.quantize = "4bit" saves memory), or use it through a server'
        raise SelfRewardError(what, str(folder), now)


def _refuse_nonsense(folder: Path, settings: dict[str, Any]) -> None:
    """Raises `SelfRewardError` for a number below one or of no kind, and for a precision that cannot be trained."""
    text = settings.get("text_config") or {}
    for table in (settings, text if isinstance(text, dict) else {}):
        for name, value in _senseless(table).items() if isinstance(text, dict) else [("text_config", text)]:
            what = f"its config.json says {name} = {value!r}, which makes no sense"
            raise SelfRewardError(what, str(folder), "Correct it; the model's page has its settings")
        dtype = table.get("dtype", table.get("torch_dtype"))
        if isinstance(dtype, str) and dtype.removeprefix("torch.") not in PRECISIONS:
            now = "Give the model in float32, bfloat16 or float16"
            raise SelfRewardError(f"its config.json says dtype = {dtype!r}, a precision that cannot be trained", str(folder), now)


def _senseless(table: dict[str, Any]) -> dict[str, Any]:
    """Sizes that are none, those of the positions' rotation too, dropout beyond 0 and 1, and whatever is NaN."""
    sizes = {name: table.get(name) for name in SIZES}
    for key in ("rope_parameters", "rope_scaling"):
        rope = table.get(key)
        sizes |= {f"{key}.{name}": rope.get(name) for name in OF_ROTATION} if isinstance(rope, dict) else {}
    none = {name: value for name, value in sizes.items() if _is_no_size(value)}
    numbers = {name: value for name, value in table.items() if isinstance(value, int | float)}
    shares = {name: value for name, value in numbers.items() if name.endswith(("dropout", "_pdrop")) and not 0 <= value <= 1}
    return none | shares | {name: value for name, value in numbers.items() if isnan(value)}


def _is_no_size(value: Any) -> bool:
    return isinstance(value, bool | str) or (isinstance(value, int | float) and not 0 < value < float("inf"))


def assert_readable(folder: Path, config: Any) -> Any:
    """The tokenizer in `folder`, or in a GGUF file. Raises `SelfRewardError` where none there fits the model of `config`."""
    try:
        with quietly():
            return _fitting_tokenizer(folder, config)
    except SelfRewardError:
        raise
    except Exception as error:  # tokenizers raise nothing more specific
        what, now = f"its tokenizer cannot be read ({first_line(error)})", "Give a folder with its tokenizer too"
        raise SelfRewardError(what, str(folder), now) from error


def _fitting_tokenizer(folder: Path, config: Any) -> Any:
    from selfreward.engines.tokens import load_tokenizer

    tokenizer = load_tokenizer(folder)
    named = {*tokenizer.vocab_files_names.values(), "tokenizer.json"} - {None}
    if folder.is_dir() and tokenizer.vocab_files_names and not any((folder / name).is_file() for name in named):
        raise SelfRewardError(f"has no tokenizer (none of {', '.join(sorted(named))})", str(folder), GIVE)
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is None:
        now = "Name a pad_token or an eos_token in its tokenizer_config.json"
        raise SelfRewardError("its tokenizer has neither a padding token nor an end of text", str(folder), now)
    if empty := [name for name in ("pad_token", "eos_token") if getattr(tokenizer, name) == ""]:
        raise SelfRewardError(
            f"its tokenizer_config.json says {empty[0]} = '', which is no token", str(folder), "Correct it, or leave it out"
        )
    _refuse_beyond(folder, tokenizer, config.get_text_config().vocab_size)
    return tokenizer


def _refuse_beyond(folder: Path, tokenizer: Any, embeddings: int) -> None:
    """Raises `SelfRewardError` where a conversation may hold a token of which the model has no embedding.

    Special tokens that no template writes are never in one: texts that spell them out are broken up (Gemma 3's image token).
    """
    from selfreward.engines.tokens import end_of_turn, prompt_ids
    from selfreward.records import Message

    ids = prompt_ids(tokenizer, [Message(role="user", content="Hi")])
    written = {*ids, end_of_turn(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id} - {None}
    added = tokenizer.added_tokens_decoder
    never = {at for at, token in added.items() if token.special and at not in written and len(token.content) > 1}
    beyond = sorted(at for at in {*tokenizer.get_vocab().values(), *written} if at >= embeddings and at not in never)
    if beyond:
        token = tokenizer.convert_ids_to_tokens(beyond[0])
        first = f"{token}, id {beyond[0]}" + (" first" if len(beyond) > 1 else "")
        what = f"its tokenizer has {amount(len(beyond), 'token')} ({first}) beyond its {embeddings:,} embeddings"
        now = "Give the tokenizer that belongs to it, or give it embeddings for them (transformers: resize_token_embeddings)"
        raise SelfRewardError(what, str(folder), now)


def _assert_fitting(folder: Path, config: Any, tensors: dict[str, list[int]]) -> None:
    """Raises `SelfRewardError` where `tensors` (name → shape) are not those of the model that `config` describes."""
    from transformers import AutoModelForCausalLM

    try:
        with quietly():
            _, report = AutoModelForCausalLM.from_pretrained(
                folder, config=config, device_map="meta", output_loading_info=True, ignore_mismatched_sizes=True,
                trust_remote_code=False, use_safetensors=True,
            )  # fmt: skip
    except Exception as error:  # transformers may raise anything
        raise SelfRewardError(f"transformers fails on it: {first_line(error)}", str(folder), GIVE) from error
    kind = config.model_type
    for name, stored, meant in sorted(report["mismatched_keys"]):
        what = f"{name} in its weights is {_shape(stored)}, and {_shape(meant)} by its config.json"
        raise SelfRewardError(what, str(folder), "Give the config.json and tokenizer that belong to these weights")
    if report["missing_keys"]:
        what = f"its weights lack {_first(report['missing_keys'])} of a {kind}"
        unknown = f", and have {_first(report['unexpected_keys'])}" if report["unexpected_keys"] else ""
        raise SelfRewardError(what + unknown, str(folder), GIVE)
    if report["unexpected_keys"]:
        what = f"its weights have {_first(report['unexpected_keys'])}, which a {kind} does not have"
        raise SelfRewardError(what, str(folder), "Give the config.json that belongs to these weights")
    if not tensors:
        raise SelfRewardError("has no weights in its files", str(folder), GIVE)


def _first(names: set[str]) -> str:
    more = len(names) - 1
    return min(names) + (f" (and {more} more)" if more else "")


def _shape(size: Any) -> str:
    return " × ".join(map(str, size))


@lru_cache
def _finite(folder: Path, _: Stamp) -> None:
    import torch
    from safetensors import safe_open

    for file, header in weight_files(folder).items():
        with safe_open(file, "pt") as tensors:
            for name, (kind, _shape) in header.items():
                if kind not in NUMBERS:
                    continue
                for part in tensors.get_tensor(name).reshape(-1).split(HELD):
                    if part.numel() and not bool(torch.stack(torch.aminmax(part)).isfinite().all()):
                        now = "Give weights from before the training diverged"
                        raise wrong(file, f"holds numbers that are not finite (NaN or infinity) in {name}", now)


@contextmanager
def quietly() -> Iterator[None]:
    """Silence the messages of transformers about the weights: the errors here say the same."""
    from transformers.utils import logging as of_transformers

    logger = logging.getLogger("transformers")
    before, bars = logger.level, of_transformers.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    of_transformers.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(before)
        if bars:
            of_transformers.enable_progress_bar()
