#!/usr/bin/env bash
# torch 2.13.0, transformers 5.23.0 (CPU, float32).
# A RoBERTa decoder (RobertaForCausalLM with is_decoder) counts positions from padding_idx + 1 where it is given none, in training
# and in every forward pass. generate() makes position ids of the attention mask, which count from 0. So the model is asked at other
# positions than it was trained at, and greedy generate() is not the likeliest continuation by the model's own forward pass. XLM-R,
# CamemBERT and Data2Vec are alike.
# Seen: the first generated token is another than the argmax of the forward pass for 11 of 20 prompts.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 transformers==5.23.0
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import torch
from transformers import RobertaConfig, RobertaForCausalLM

torch.manual_seed(0)
config = RobertaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
                       max_position_embeddings=64, is_decoder=True, initializer_range=0.3)
model = RobertaForCausalLM(config).eval()
apart, offset = 0, model.roberta.embeddings.padding_idx + 1
for _ in range(20):
    ids = torch.randint(5, 60, (1, 10))
    mask = torch.ones_like(ids)
    with torch.no_grad():
        forward = int(model(input_ids=ids, attention_mask=mask).logits[0, -1].argmax())
        shifted = int(model(input_ids=ids, attention_mask=mask, position_ids=torch.arange(10)[None]).logits[0, -1].argmax())
    written = int(model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=1)[0, -1])
    assert written == shifted, "generate() counts positions from another number than 0"
    apart += written != forward
print(f"{apart} of 20 first tokens differ; the forward pass counts from {offset}")
assert apart > 5, "generate() and the forward pass agree now"
PY
