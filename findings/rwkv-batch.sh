#!/usr/bin/env bash
# torch 2.13.0, transformers 5.23.0 (CPU, float32).
# RWKV decodes one row right and several rows wrong. With a state and one new token the shifted hidden states are [row, size] beside
# hidden states [row, 1, size]; broadcasting makes [row, row, size] of them, and each row is mixed with the last token of other rows.
# Nothing is raised: greedy generate() of two prompts of one length, without any padding, writes other tokens than it does for each
# prompt alone.
# Seen: largest difference of the second step's logits from a pass over the whole text: alone 2e-06, two rows together 4.8.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 transformers==5.23.0
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import torch
from transformers import RwkvConfig, RwkvForCausalLM

torch.manual_seed(0)
config = RwkvConfig(vocab_size=64, context_length=64, hidden_size=32, attention_hidden_size=32, num_hidden_layers=4,
                    intermediate_size=48, bos_token_id=0, eos_token_id=63, pad_token_id=0)
model = RwkvForCausalLM(config).eval()
for weight in model.parameters():
    weight.data += 0.3 * torch.randn(weight.shape)
ids = torch.randint(1, 60, (2, 12))

def second_step(rows):
    with torch.no_grad():
        state = model(input_ids=rows, use_cache=True).state
        return model(input_ids=torch.full((len(rows), 1), 7), state=state, use_cache=True).logits[:, -1]

together, alone = second_step(ids), torch.cat([second_step(row[None]) for row in ids])
with torch.no_grad():
    whole = model(input_ids=torch.cat([ids, torch.full((2, 1), 7)], dim=1), use_cache=False).logits[:, -1]
print("alone", float((alone - whole).abs().max()), "together", float((together - whole).abs().max()))
assert (alone - whole).abs().max() < 1e-3
assert (together - whole).abs().max() > 0.1, "rows of a batch no longer touch each other"
PY
