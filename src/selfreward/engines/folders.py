"""The check of a model's folder before any library opens it: its lists of weights, the files, and their headers.

Libraries follow what stands in a folder: a list may name files anywhere, an `adapter_config.json` another model, a name without
`.safetensors` a pickle. So every file that weights come from is found here first, and is a whole safetensors file in the folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfreward.errors import SelfRewardError, amount, first_line
from selfreward.records import INDEX, NoFile, listed_weights, readable

WHOLE = "model.safetensors"
"""Weights in one file."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
"""Weights that are never loaded: reading them may run code, or needs another library."""
NUMBERS = {"F64", "F32", "F16", "BF16"}
"""Precisions of floating-point numbers in which weights may be stored."""
COUNTS = {"I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}
"""Types of buffers: positions and masks."""
AGAIN = "Fetch it again"
GIVE = "Give a folder with a transformers causal language model: config.json, weights in safetensors, tokenizer"


def wrong(file: Path, what: str, now: str) -> SelfRewardError:
    """The error for a file of a model's folder."""
    return SelfRewardError(f"{file.name} {what}", str(file.parent), now)


def read_settings(file: Path) -> dict[str, Any]:
    """A JSON file of a model's folder that holds a table. Raises `SelfRewardError` where it does not."""
    try:
        tree = json.loads(readable(file).read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise wrong(file, "is not there", GIVE) from error
    except (OSError, ValueError, RecursionError) as error:
        raise wrong(file, f"is no JSON ({first_line(error)})", AGAIN) from error
    if not isinstance(tree, dict):
        raise wrong(file, "is no table of settings", AGAIN)
    return tree


def assert_files(folder: Path) -> None:
    """Raises `SelfRewardError` where a pipe, say, is in a model's folder: libraries would wait for it."""
    for path in sorted(folder.glob("*")):
        try:
            readable(path)
        except FileNotFoundError:  # a link that leads nowhere
            continue
        except NoFile as error:
            raise wrong(path, f"is no file: {error.strerror}", AGAIN) from error


def weight_files(folder: Path) -> dict[Path, dict[str, tuple[str, list[int]]]]:
    """The files that weights come from; of each, tensor → (type, shape), by their headers. No weights are read.

    Raises `SelfRewardError` where libraries would take them from elsewhere, or one is missing or not whole.
    """
    assert_files(folder)
    _refuse_adapter(folder)
    listed = _listed(folder)
    headers = {}
    for name in _names(folder, listed):
        file = folder / name
        _refuse_outside(file, folder)
        headers[file] = _header(file)
        _refuse_twice(file, headers)
        lacking = sorted(key for key, where in (listed or {}).items() if where == name and key not in headers[file])
        if lacking:
            raise wrong(file, f"lacks {amount(len(lacking), 'tensor')} that {INDEX} lists, {lacking[0]} first", AGAIN)
    return headers


def _names(folder: Path, listed: dict[str, str] | None) -> list[str]:
    """Names of the files, all of which are there. `listed`: tensor → file, where a list names them."""
    names = [WHOLE] if listed is None else sorted(set(listed.values()))
    if listed is None and not (folder / WHOLE).exists():
        raise _without(folder)
    for name in names:
        if not name.endswith(".safetensors"):
            raise wrong(folder / INDEX, f"names {name}, which is no safetensors file", "Others are never loaded")
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise SelfRewardError(f"lacks {len(missing)} of its weight files, {missing[0]} first", str(folder), AGAIN)
    if (folder / WHOLE).exists() and names != [WHOLE]:
        what = f"has {WHOLE} and {INDEX}, which names other files: libraries do not agree which to load"
        raise SelfRewardError(what, str(folder), "Leave one of the two")
    if listed is not None and not (folder / WHOLE).exists() and "metadata" not in read_settings(folder / INDEX):
        raise wrong(folder / INDEX, "has no metadata, without which transformers loads nothing", AGAIN)
    return names


def _listed(folder: Path) -> dict[str, str] | None:
    """Tensor → file, of a model in several files; None of one in a single file."""
    settings = read_settings(folder / "config.json") if (folder / "config.json").is_file() else {}
    if settings.get("transformers_weights") is not None:
        what = f"has weights taken from {settings['transformers_weights']} (transformers_weights)"
        raise wrong(folder / "config.json", what, f"Leave that field out, and name the weights {WHOLE} or list them in {INDEX}")
    if not (folder / INDEX).is_file():
        return None
    try:
        return listed_weights(folder)
    except (ValueError, RecursionError) as error:
        raise wrong(folder / INDEX, f"is no list of tensors and their files ({first_line(error)})", AGAIN) from error


def _refuse_outside(file: Path, folder: Path) -> None:
    """Raises `SelfRewardError` where `file` lies neither in `folder` nor, in the hub's cache, where its files are kept."""
    root, real = folder.resolve(), file.resolve()
    blobs = root.parent.parent / "blobs" if root.parent.name == "snapshots" else root
    if not (real.is_relative_to(root) or real.is_relative_to(blobs)):
        what = f"takes weights from outside the folder, {real}"
        raise SelfRewardError(what, str(folder), "Put the file itself into the folder, and name it without a path")


def _refuse_twice(file: Path, headers: dict[Path, dict[str, tuple[str, list[int]]]]) -> None:
    """Raises `SelfRewardError` where a tensor of `file` is in another one too: libraries do not agree which to load."""
    for other in headers.keys() - {file}:
        if both := sorted(headers[file].keys() & headers[other].keys()):
            raise wrong(file, f"has {both[0]}, which is in {other.name} too", AGAIN)


def _header(file: Path) -> dict[str, tuple[str, list[int]]]:
    from safetensors import SafetensorError, safe_open

    with readable(file).open("rb") as opened:
        pointer = opened.read(40).startswith(b"version https://git-lfs")
    if pointer:
        raise wrong(file, "is a Git LFS pointer and not the weights", "Fetch them: git lfs pull")
    try:
        with safe_open(file, "np") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
            header = {name: (part.get_dtype(), part.get_shape()) for name, part in slices.items()}
    except SafetensorError as error:
        raise wrong(file, f"is no whole safetensors file ({first_line(error)})", AGAIN) from error
    for name, (kind, _) in header.items():
        if kind not in NUMBERS | COUNTS or (kind in COUNTS and name.endswith(".weight")):
            now = "Give the model in float32, bfloat16 or float16; a server can serve it as it is, as a judge or writer"
            raise wrong(file, f"holds {name} in {kind}, a precision that cannot be trained", now)
    return header


def _refuse_adapter(folder: Path) -> None:
    """Raises `SelfRewardError` where libraries would put an adapter on the weights, or load another model to put it on."""
    if not (file := folder / "adapter_config.json").is_file():
        return
    if (folder / WHOLE).is_file() or (folder / INDEX).is_file():
        what = "has an adapter (adapter_config.json) beside its weights, which libraries would add to them, merged or not"
        now = "Move the adapter into a folder of its own if it is merged; merge it if it is not (peft: merge_and_unload)"
        raise SelfRewardError(what, str(folder), now)
    base = str(read_settings(file).get("base_model_name_or_path") or "its base")
    what = f"is an adapter (LoRA) and no model: it belongs on {base}"
    now = "Merge it into that model (peft: merge_and_unload, save_pretrained), and give the folder of the result"
    raise SelfRewardError(what, str(folder), now)


def _without(folder: Path) -> SelfRewardError:
    """The error for a folder in which no library finds weights: which files there are instead."""
    other = sorted(file.name for file in folder.glob("*.safetensors"))
    if other:
        what = f"has weights under another name ({other[0]}): transformers looks for {WHOLE} or {INDEX}"
        return SelfRewardError(what, str(folder), f"Rename them, or fetch {INDEX} too")
    gguf = sorted(file.name for file in folder.glob("*.gguf"))
    if gguf:
        return SelfRewardError(f"has no .safetensors weights, but {gguf[0]}", str(folder), f"Give {folder / gguf[0]}")
    pickled = sorted(file.name for file in _pickles(folder))
    what = "has no .safetensors weights" + (f"; {pickled[0]} is of a kind that may run code when it is read" if pickled else "")
    return SelfRewardError(what, str(folder), "Give a model with .safetensors weights; other files are never loaded")


def _pickles(folder: Path) -> Iterator[Path]:
    for pattern in PICKLES:
        yield from folder.glob(pattern)
