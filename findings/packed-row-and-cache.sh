#!/usr/bin/env bash
# torch 2.13.0, transformers 5.23.0 (CPU, float32, attention `sdpa` and `eager`).
# Two texts in one row, position ids that begin again at the second (as DataCollatorWithFlattening and packing make them): transformers
# sees the beginnings and keeps the texts apart by a block mask, if and only if no cache is made. `use_cache` is on unless
# it is turned off, and then, in training mode too, the second text attends to the first; so it does beside an attention mask of ones. A
# switch that is known to change speed and memory alone so decides whether packed texts are mixed. Nothing is raised or warned of.
# Guess before it was run: the texts are kept apart with use_cache True and False alike.
# Seen, largest difference of the second text's logits from those of the text alone: use_cache=False 1e-6, use_cache=True 4.6, left
# out 4.6, use_cache=False and a mask of ones 4.6.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 transformers==5.23.0
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                     initializer_range=0.2))
first, second = torch.randint(4, 60, (1, 5)), torch.randint(4, 60, (1, 7))
packed = dict(input_ids=torch.cat([first, second], dim=1), position_ids=torch.cat([torch.arange(5), torch.arange(7)])[None])
ways = {
    "use_cache=False": dict(use_cache=False),
    "use_cache=True": dict(use_cache=True),
    "use_cache left out": {},
    "use_cache=False, mask of ones": dict(use_cache=False, attention_mask=torch.ones(1, 12, dtype=torch.long)),
}
for attention in ("sdpa", "eager"):
    model.set_attn_implementation(attention)
    for training in (False, True):
        model.train(training)
        with torch.no_grad():
            alone = model(input_ids=second, use_cache=False).logits[0]
            apart = {way: float((model(**packed, **given).logits[0, 5:] - alone).abs().max()) for way, given in ways.items()}
        print(attention, "training" if training else "eval", apart)
        assert apart.pop("use_cache=False") < 1e-4, "packed texts are no longer kept apart without a cache"
        assert all(difference > 0.1 for difference in apart.values()), "packed texts are kept apart otherwise too now"
PY
