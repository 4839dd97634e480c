"""A model in a GGUF file, dequantised into a folder as transformers has one: weights in float32, tokenizer, template, stops.

transformers reads such a file, and then refuses to save what it read for as long as it calls it quantised, which it no longer is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfreward.engines.soundness import assert_finite, assert_readable, assert_sound, quietly
from selfreward.errors import SelfRewardError, first_line, pip_install
from selfreward.records import made_beside, readable

SUFFIX, MAGIC = ".gguf", b"GGUF"
ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")
"""Names under `tokenizer.ggml` of the tokens on which generation stops."""
FACTORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Tensors by which llama.cpp divides the rotary frequencies: of Llama 3.1 and later, and of longrope."""
LLAMA_3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""The stretched positions of Llama 3.1, 3.2 and 3.3, but for their factor."""


def find_gguf(name: str) -> Path | None:
    """The GGUF file that `name` means: itself, or the one of a folder that has no other weights; None where it means none."""
    path = Path(name)
    named = path.suffix == SUFFIX and path.exists() and not path.is_dir()
    if named or (path.is_file() and _begins(path) == MAGIC):  # a blob of the hub's cache has no suffix
        return path
    files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() and not any(path.glob("*.safetensors")) else []
    if len(files) > 1:
        raise SelfRewardError(f"has {len(files)} GGUF files", name, f"Name one of them, such as {files[0]}")
    return files[0] if files else None


def _begins(file: Path) -> bytes:
    with readable(file).open("rb") as opened:
        return opened.read(len(MAGIC))


def read_gguf(file: Path) -> tuple[Any, Any]:
    """Settings and tokenizer of the model in `file`. Raises `SelfRewardError` where it cannot be converted."""
    from transformers import AutoConfig

    fields = _fields(file)
    try:
        with quietly():
            config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    except Exception as error:  # readers of GGUF have no error in common
        raise _unknown(file, error) from error
    _stretch(config, file, fields)
    return config, assert_readable(file, config)


def convert_gguf(file: Path, folder: Path) -> None:
    """Write the model in `file` into `folder`, whole or not at all. Raises `SelfRewardError` where that cannot be done."""
    if folder.exists():
        raise SelfRewardError("is there already", str(folder), "Name a new folder, or use the model in this one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with made_beside(folder) as partial:
        write_gguf(file, partial)


def write_gguf(file: Path, folder: Path) -> None:
    """Write the model in `file` into an empty `folder`, and look it over. The same file gives the same bytes."""
    import torch
    from transformers import AutoModelForCausalLM

    config, tokenizer = read_gguf(file)
    try:
        with quietly(), _without_bar():
            model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    except Exception as error:  # readers of GGUF have no error in common
        raise _unknown(file, error) from error
    if rope := getattr(config, "rope_parameters", None):
        model.config.rope_parameters = rope
    model.hf_quantizer = None
    del model.config.quantization_config
    with quietly():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _write_ends(folder / "generation_config.json", _fields(file))
    assert_sound(folder)
    assert_finite(folder)


@contextmanager
def _without_bar() -> Iterator[None]:
    """Silence the bar over a file's tensors, which transformers shows whatever its own switch says."""
    from transformers import modeling_gguf_pytorch_utils as reader

    shown = getattr(reader, "tqdm", None)
    setattr(reader, "tqdm", lambda tensors, **_: tensors)  # noqa: B010
    try:
        yield
    finally:
        setattr(reader, "tqdm", shown)  # noqa: B010


def _fields(file: Path) -> dict[str, Any]:
    """The facts in a GGUF file, which is whole, and of its tensors `FACTORS` alone. Raises `SelfRewardError` where it is not."""
    if find_spec("gguf") is None:
        raise SelfRewardError("cannot be read: gguf is not installed", str(file), pip_install("gguf"))
    from gguf import GGUFReader

    if not file.exists():
        raise SelfRewardError("there is no such file", str(file), "Give the path of a GGUF file")
    try:
        reader = GGUFReader(readable(file))
        fields = {name: field.contents() for name, field in reader.fields.items() if "ggml.tokens" not in name}
        fields |= {tensor.name: tensor.data.copy() for tensor in reader.tensors if tensor.name in FACTORS}
    except Exception as error:  # of a torn file, whatever its reader stumbles over
        raise SelfRewardError(f"is no whole GGUF file ({first_line(error)})", str(file), "Fetch it again") from error
    if (parts := int(fields.get("split.count") or 1)) > 1:
        now = f"Put them together: llama-gguf-split --merge {file.name} WHOLE.gguf"
        raise SelfRewardError(f"is one of {parts} parts of a model", str(file), now)
    return fields


def _stretch(config: Any, file: Path, fields: dict[str, Any]) -> None:
    """Give `config` the stretched positions of `file`, which transformers passes over. Raises where they are not Llama 3's."""
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = {str(value) for name, value in fields.items() if name.endswith(".rope.scaling.type")} - {"none"}
    factors = [fields[name] for name in FACTORS if name in fields]
    layers = [each for each in rope.values() if isinstance(each, dict)]
    if not (kinds or factors) or any(each.get("rope_type", "default") != "default" for each in (rope, *layers)):
        return
    if factors:
        config.rope_parameters = {"rope_theta": 10000.0} | rope | LLAMA_3 | {"factor": float(factors[0].max())}
    if kinds or layers or len(factors) > 1 or not _are_of(config, factors[0]):
        what = "stretches positions in a way that transformers does not read from such a file"
        raise SelfRewardError(what, str(file), "Give the model that it was made from, as a folder or a hub id")


def _are_of(config: Any, factors: Any) -> bool:
    """True where `factors`, one a rotary frequency, are those of the positions that `config` has."""
    import numpy
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    stretched = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")[0].numpy()
    plain = config.rope_parameters["rope_theta"] ** -(numpy.arange(len(factors)) / len(factors))
    return stretched.shape == factors.shape and bool(numpy.allclose(plain / stretched, factors, rtol=1e-3))


def _unknown(file: Path, error: Exception) -> SelfRewardError:
    what = f"holds no model that transformers can read ({first_line(error)})"
    return SelfRewardError(what, str(file), "Give the model that it was made from, as a folder or a hub id")


def _write_ends(file: Path, fields: dict[str, Any]) -> None:
    """Add to the settings of how to generate every token that ends a turn or a message by the GGUF file."""
    settings = json.loads(readable(file).read_text(encoding="utf-8"))
    known = settings.get("eos_token_id")
    ends = [*(known if isinstance(known, list) else [known]), *(fields.get(f"tokenizer.ggml.{name}") for name in ENDS)]
    stops = list(dict.fromkeys(int(end) for end in ends if end is not None))
    if stops:
        settings["eos_token_id"] = stops if len(stops) > 1 else stops[0]
        file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
