#!/usr/bin/env bash
# mlx-lm 0.32.2, mlx 0.32.4 (CPU), transformers 5.23.0, torch 2.13.0 (float32).
# transformers 5 writes all about positions into one entry of config.json, rope_parameters. mlx-lm loads such a folder and looks for rope_theta
# and rope_scaling beside it, where transformers 4 had them. Its models of Llama, Mistral, Phi 3, OLMo 2, SmolLM3 and Starcoder 2 have a default for both:
# theta 10000 and nothing stretched. A Llama 3 (500000), Mistral 7B v0.3 (1000000) or Phi 3 that was fine-tuned and saved with
# transformers 5, or by TRL with it, so runs with positions that it was never trained with, and nothing is said. Qwen 2's and Mixtral's defaults happen to be their own.
# Guess before it was run: the logits are those of transformers, or the folder is refused, as folders of Granite, GPT-NeoX and StableLM are.
# Seen, largest difference of the logits (largest logit 8): theta 10000 2e-05, 500000 9.2, llama3 9.1; with both entries put back 2e-05.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile torch==2.13.0 transformers==5.23.0 mlx-lm==0.32.2 'mlx[cpu]==0.32.4'
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error venv/bin/python - <<'PY'
import json
import mlx.core as mx
import numpy
import torch
from mlx_lm import load
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

mx.set_default_device(mx.cpu)
words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{n}" for n in range(60))]
raw = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>")
ids = torch.randint(4, 64, (1, 40), generator=torch.Generator().manual_seed(1))
kinds = {
    "theta 10000": {"rope_type": "default", "rope_theta": 1e4},
    "theta 500000": {"rope_type": "default", "rope_theta": 5e5},
    "llama3": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64},
}

def away(folder, right):
    """Largest difference of the logits that mlx-lm gives to these."""
    found = load(folder)[0](mx.array(ids.numpy()))[0]
    return float(abs(numpy.array(found.astype(mx.float32)) - right).max())

apart, mended = {}, {}
for kind, rope in kinds.items():
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                                         pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.3,
                                         max_position_embeddings=512, rope_parameters=rope)).eval()
    model.save_pretrained(kind), tokenizer.save_pretrained(kind)
    with torch.no_grad():
        right = model(ids).logits[0].numpy()
    apart[kind] = away(kind, right)
    with open(f"{kind}/config.json") as file:
        config = json.load(file)
    assert config["rope_parameters"]["rope_theta"] == rope["rope_theta"] and "rope_theta" not in config
    with open(f"{kind}/config.json", "w") as file:
        json.dump(config | {"rope_theta": rope["rope_theta"], "rope_scaling": rope if kind == "llama3" else None}, file)
    mended[kind] = away(kind, right)
print("difference of the logits:", apart, "with both entries:", mended)
assert apart["theta 10000"] < 1e-3 and max(mended.values()) < 1e-3
assert apart["theta 500000"] > 0.1 and apart["llama3"] > 0.1, "mlx-lm reads rope_parameters now"
PY
