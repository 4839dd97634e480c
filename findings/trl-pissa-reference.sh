#!/usr/bin/env bash
# trl 1.16.0, peft 0.21.2, transformers 5.23.0, torch 2.13.0, datasets 5.2.0, accelerate 1.15.0 (CPU, float32).
# With LoRA and no reference model, DPOTrainer takes the model with its adapter switched off as the reference. LoRA's PiSSA and OLoRA
# starts first take the adapter's part out of the base's weights, so that the model with the adapter off is what is left of it,
# and no model anybody trained. DPO then pulls towards that remnant: margins and accuracy are another than zero before the first
# update (here every pair counts as won), and the loss is not log 2. Nothing is raised or warned of; precomputed references are alike.
# Guess before it was run: with any start of LoRA, switching the adapter off gives the base's outputs.
# Seen, first step: plain start loss 0.6931 margin 0; pissa 0.5746, margin +0.257, accuracy 1.0; olora 0.8178, margin -0.229.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 transformers==5.23.0 trl==1.16.0 peft==0.21.2 datasets==5.2.0 accelerate==1.15.0
HF_HUB_OFFLINE=1 HF_HOME="$here/hub" venv/bin/python - <<'PY'
import math
import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{n}" for n in range(60))]
raw = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
torch.manual_seed(0)
LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                             pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.2)).save_pretrained("model")
pairs = Dataset.from_list([{"prompt": "w1 w2 w3 ", "chosen": f"w4 w5 w{n}", "rejected": f"w6 w{n + 1} w7 w8"} for n in range(8)])

def first_step(start):
    """Loss, margin and accuracy of the first step, which are taken before any weight has moved."""
    config = DPOConfig("out", report_to=[], use_cpu=True, bf16=False, disable_tqdm=True, max_steps=1, logging_steps=1,
                       per_device_train_batch_size=8, save_strategy="no")
    lora = LoraConfig(init_lora_weights=start, target_modules="all-linear", r=8)
    trainer = DPOTrainer("model", args=config, train_dataset=pairs, processing_class=tokenizer, peft_config=lora)
    trainer.train()
    return [trainer.state.log_history[0][name] for name in ("loss", "rewards/margins", "rewards/accuracies")]

found = {start: first_step(start) for start in (True, "pissa", "olora")}
print(found)
assert abs(found[True][0] - math.log(2)) < 1e-6 and found[True][1] == 0
for start in ("pissa", "olora"):
    assert abs(found[start][0] - math.log(2)) > 0.05, f"{start} begins at its base now"
PY
