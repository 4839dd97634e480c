#!/usr/bin/env bash
# peft 0.21.2, transformers 5.23.0, torch 2.13.0, accelerate 1.15.0 (CPU, float32).
# add_weighted_adapter() makes one adapter of several: a mean of seeds, of a policy and its predecessor, of a model that talks and one that judges. "cat and svd are precise",
# its docstring says, and of plain LoRA they are. Of rsLoRA (use_rslora) the new adapter is marked as rsLoRA too, and its alpha is set to its rank, so that
# it is scaled by the square root of the rank where 1 was meant: the mean of two adapters of rank 16 is 5.66 times too large, and a copy of one
# with weight 1 is four times the adapter. Nothing is raised; the model babbles, and the merge is blamed.
# Guess before it was run: the half of each comes out as the half of each, by cat and svd exactly, whether rsLoRA or not.
# Seen, size by size meant: LoRA cat 1.0, svd 1.0, copy 1.0; rsLoRA cat 5.657, svd 5.657 (same direction), copy 4.0.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile torch==2.13.0 transformers==5.23.0 peft==0.21.2 accelerate==1.15.0
HF_HUB_OFFLINE=1 venv/bin/python -W ignore - <<'PY'
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

def sizes(rslora):
    """Size of the combined change of weights by the size of the one that was asked for, and the cosine of both, by kind of combination."""
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4))
    config = LoraConfig(r=16, lora_alpha=16, target_modules=["q_proj"], use_rslora=rslora, init_lora_weights=False)
    model = get_peft_model(base, config, adapter_name="one")
    assert isinstance(model, PeftModel)
    model.add_adapter("two", config)
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    one, two = (layer.get_delta_weight(name).detach() for name in ("one", "two"))
    model.add_weighted_adapter(["one", "two"], [0.5, 0.5], "cat", combination_type="cat")
    model.add_weighted_adapter(["one", "two"], [0.5, 0.5], "svd", combination_type="svd", svd_rank=32)
    model.add_weighted_adapter(["one"], [1.0], "copy")
    found = {}
    for name, meant in (("cat", (one + two) / 2), ("svd", (one + two) / 2), ("copy", one)):
        made = layer.get_delta_weight(name).detach()
        found[name] = round(float(made.norm() / meant.norm()), 3), round(float((made * meant).sum() / made.norm() / meant.norm()), 4)
    return found

plain, rslora = sizes(False), sizes(True)
print("LoRA", plain, "rsLoRA", rslora)
assert all(found == (1.0, 1.0) for found in plain.values())
assert {name: found[0] for name, found in rslora.items()} == {"cat": 5.657, "svd": 5.657, "copy": 4.0}, "rsLoRA is scaled otherwise now"
assert all(found[1] == 1.0 for found in rslora.values())
PY
