"""LoRA and QLoRA through peft (Hu et al. 2021; Dettmers et al. 2023): low-rank adapters on frozen weights.

A trained adapter is merged into the weights that it was trained on, unquantised, and kept beside the result. Libraries
pass over keys they do not know when they load an adapter, and say nothing: so it is read back and must give the same.
peft takes seconds to import, and a training of all weights does without it.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from selfreward.errors import SelfRewardError, pip_install
from selfreward.recipe import LoRAConfig

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from peft.tuners.lora import LoraLayer

FOLDER = "adapter"
"""The folder of the adapter inside a model's folder: safetensors, as peft loads it."""
NAME = "default"
"""peft's name for the only adapter of a model."""


def lora(config: LoRAConfig) -> LoraConfig:
    """The adapters that `config` asks for, in peft's words."""
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM", r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout,
        target_modules=config.targets if isinstance(config.targets, str) else list(config.targets),
    )  # fmt: skip


def frozen(config: LoRAConfig, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` that load the frozen weights: in NF4 if quantised, else in `dtype`."""
    if config.quantize == "no":
        return {"dtype": dtype}
    if find_spec("bitsandbytes") is None:
        now = f'{pip_install("qlora")}, or set it to "no"'
        raise SelfRewardError("asks for 4-bit weights but bitsandbytes is not installed", "trainer.lora.quantize", now)
    quantization = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return {"dtype": dtype, "quantization_config": quantization, "device_map": {"": device}}


def keep_differentiable(model: PreTrainedModel) -> None:
    """Forbid the packed form that bitsandbytes gives 4-bit weights on some CPUs once evaluated: gradients end in it."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def train_in_float32(model: PeftModel) -> None:
    """Hold the adapters in float32, where TRL puts those on quantised weights in bfloat16: small steps would be lost.

    Raises `ValueError` where one is on something else than a linear layer, on which it could not be merged.
    """
    for name, layer in _adapted(model):
        if NAME not in layer.lora_A:
            raise ValueError(f"{name} is no linear layer")
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def refuse_head(model: PreTrainedModel, config: LoRAConfig) -> None:
    """Raises `SelfRewardError` where `config` puts an adapter on the output head, or on word embeddings that are tied to it.

    Merged, that would change both; and TRL takes log-probabilities from the head's own weights, past an adapter.
    """
    from peft.tuners.tuners_utils import check_target_module_exists

    head, words = model.get_output_embeddings(), model.get_input_embeddings()
    tied = head is not None and getattr(head, "weight", None) is getattr(words, "weight", None)
    apart = [name for name, layer in model.named_modules() if layer is head or (tied and layer is words)]
    for name in apart if config.targets != "all-linear" else ():
        if check_target_module_exists(lora(config), name):
            why = "tied to the word embeddings: merged, it would change both" if tied else "for which TRL ignores adapters"
            what = f"puts an adapter on {name}, the weights of the output head, {why}"
            raise SelfRewardError(what, "trainer.lora.targets", "Leave it out of the targets")


def merged(model: PeftModel, start: Path) -> PreTrainedModel:
    """The weights in `start`, in their own precision, with the adapters of `model` added: W + alpha / rank · B A."""
    result = _unquantised(start)
    for name, layer in _adapted(model):
        linear = result.get_submodule(name)
        delta = _delta(layer).T if isinstance(linear, Conv1D) else _delta(layer)
        linear.weight.data = (linear.weight.data.float() + delta).to(linear.weight.dtype)
    return result


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the adapters of `model` into the folder of the model that was made with them."""
    model.peft_config[NAME].base_model_name_or_path = ""  # a path of this machine means nothing elsewhere
    model.peft_config[NAME].target_modules = sorted(model.peft_config[NAME].target_modules)  # a set differs from run to run
    model.save_pretrained(folder / FOLDER, save_embedding_layers=False)
    (folder / FOLDER / "README.md").unlink(missing_ok=True)


def assert_reload(start: Path, folder: Path) -> None:
    """Raises `SelfRewardError` where `start` with the adapter as it is on disk is not the model in `folder`."""
    from peft import PeftModel

    again = PeftModel.from_pretrained(_unquantised(start), folder / FOLDER, torch_device="cpu").merge_and_unload()
    reloaded, saved = _weights_id(again), _weights_id(_unquantised(folder))
    if reloaded != saved:
        what = f"read back and merged it gives other weights ({reloaded}) than the saved ones ({saved})"
        now = "Use neither: the installed peft does not load what it saves; install the tested version, and train again"
        raise SelfRewardError(what, str(folder / FOLDER), now)


def _unquantised(path: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(path, dtype="auto", trust_remote_code=False, use_safetensors=True)


def _adapted(model: PeftModel) -> list[tuple[str, LoraLayer]]:
    """Every layer with an adapter, by its name in the model without adapters."""
    from peft.tuners.lora import LoraLayer

    return [(name, layer) for name, layer in model.get_base_model().named_modules() if isinstance(layer, LoraLayer)]


def _delta(layer: LoraLayer) -> torch.Tensor:
    """The sum that an adapter adds to its weights, [out, in]."""
    down, up = (half[NAME].weight.detach().cpu().float() for half in (layer.lora_A, layer.lora_B))
    delta: torch.Tensor = up @ down
    return delta * float(layer.scaling[NAME])


def _weights_id(model: PreTrainedModel) -> str:
    """A hash of all weights, names and precision included, whatever files they are in."""
    total = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        total.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        total.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]
