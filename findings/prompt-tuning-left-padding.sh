#!/usr/bin/env bash
# torch 2.13.0, transformers 5.23.0, peft 0.21.2, accelerate 1.15.0 (CPU, float32).
# PEFT's prompt tuning puts its virtual tokens before the padding of a row, and drops position ids. In a batch padded on the left, as generate()
# wants it, the virtual tokens so stand away from the text by as many places as the row was filled up: the shortest prompts of a batch
# get another model than the longest. Greedy answers change with what else is in the batch. In training, padded on the
# right, they stand next to the text. LoRA, and prefix tuning in generate(), are as for the row alone.
# Guess before it was run: padding that the attention mask hides changes nothing, as for the base model.
# Seen, 8 greedy tokens of a row alone and with five places of padding: prompt tuning differ, prefix tuning and LoRA are the same.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile torch==2.13.0 transformers==5.23.0 peft==0.21.2 accelerate==1.15.0
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

ids = torch.arange(5, 12)[None]
padded = torch.cat([torch.zeros(1, 5, dtype=torch.long), ids], 1)
kinds = {
    "prompt tuning": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    "prefix tuning": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    "lora": LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]),
}
same = {}
for kind, config in kinds.items():
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                        pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.5))
    model = get_peft_model(base, config).eval()
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data.normal_()
    greedy = dict(max_new_tokens=8, min_new_tokens=8, do_sample=False)
    alone, batched = (model.generate(input_ids=row, attention_mask=(row != 0).long(), **greedy)[0, -8:].tolist() for row in (ids, padded))
    same[kind] = alone == batched
    print(kind, alone, batched)
assert same == {"prompt tuning": False, "prefix tuning": True, "lora": True}, "padding counts otherwise now"
PY
