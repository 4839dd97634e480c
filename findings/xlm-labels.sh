#!/usr/bin/env bash
# torch 2.13.0, transformers 5.23.0 (CPU, float32).
# The docstring of XLMWithLMHeadModel says that labels are shifted inside the model, "i.e. you can set labels = input_ids", as GPT-2's
# says and does. They are not shifted: place i is asked for the token that stands at i, which the model reads there, so that fine-tuning as told
# teaches to copy, with a loss that falls to nothing. Nothing else tells, for shapes and masks are right.
# Guess before it was run: labels=input_ids gives the cross entropy of each next token, as with every causal model that says so.
# Seen, random weights, of 64 words: XLM loss 0.11 (next token 12.12, same place 0.11); GPT-2 8.00 (next token 8.00, same place 6.69).
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 transformers==5.23.0
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import torch
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, XLMConfig, XLMWithLMHeadModel

torch.manual_seed(0)
sizes = dict(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.5)
models = {
    "xlm": XLMWithLMHeadModel(XLMConfig(vocab_size=64, emb_dim=32, n_layers=2, n_heads=4, causal=True, pad_index=0, embed_init_std=0.5)),
    "gpt2": GPT2LMHeadModel(GPT2Config(**sizes)),
}
ids = torch.randint(5, 60, (2, 12))
found = {}
for name, model in models.items():
    with torch.no_grad():
        out = model.eval()(input_ids=ids, labels=ids)
    following = cross_entropy(out.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    same = cross_entropy(out.logits.flatten(0, 1), ids.flatten())
    found[name] = [round(float(value), 4) for value in (out.loss, following, same)]
print("loss, of the next token, of the same place:", found)
loss, following, same = found["xlm"]
assert abs(same - following) > 0.1 and abs(loss - same) < 1e-3, "XLM shifts its labels now"
loss, following, same = found["gpt2"]
assert abs(same - following) > 0.1 and abs(loss - following) < 1e-3
assert "labels **are shifted** inside the model" in " ".join(XLMWithLMHeadModel.forward.__doc__.split()), "the docstring says otherwise now"
PY
