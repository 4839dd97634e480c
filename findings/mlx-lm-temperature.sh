#!/usr/bin/env bash
# mlx-lm 0.32.2, mlx 0.32.4 (CPU), transformers 5.23.0, torch 2.13.0.
# Temperature and top_p, min_p or top_k are given together, and transformers (vLLM too) divides the logits by the temperature first and cuts the tail of
# what comes out. mlx-lm's make_sampler, behind its generate, chat and server, cuts first, at temperature 1, and cools what is left. The
# same two numbers are another distribution: at temperature 0.7 and top_p 0.9, with which candidates are often drawn, mlx-lm writes words that are no part of
# transformers' nucleus, at 2 it cannot write most of it. Pass rates, diversity of candidates and recommended settings do not carry over.
# Guess before it was run: temperature first, as elsewhere; each word that mlx-lm draws is one that transformers keeps.
# Seen, of 1,000 words, kept by transformers and drawn by mlx-lm: T 0.7 top_p 0.9: 45, 156 (8 % of draws outside); T 2 top_p 0.9: 545, 156; T 2 min_p 0.1: 137, 21.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile torch==2.13.0 transformers==5.23.0 mlx-lm==0.32.2 'mlx[cpu]==0.32.4'
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error venv/bin/python - <<'PY'
import mlx.core as mx
import numpy
import torch
from mlx_lm.sample_utils import make_sampler
from transformers import LlamaConfig, LlamaForCausalLM

mx.set_default_device(mx.cpu)
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=1000, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
                                     initializer_range=0.3, bos_token_id=1, eos_token_id=None, pad_token_id=0)).eval()

def first_word(**settings):
    """The words that transformers leaves to be drawn as the first of an answer, and 20,000 first words that mlx-lm draws by the same logits."""
    made = model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=1, do_sample=True, output_scores=True, output_logits=True,
                          return_dict_in_generate=True, **{"top_k": 0, **settings})
    kept = set(torch.isfinite(made.scores[0][0]).nonzero().flatten().tolist())
    chances = mx.array(made.logits[0][0].log_softmax(0).numpy())
    mx.random.seed(0)
    sampler = make_sampler(temp=settings.pop("temperature"), **settings)
    return kept, numpy.array(sampler(mx.broadcast_to(chances, (20_000, 1000)))).tolist()

found = {}
for settings in ({"temperature": 1.0, "top_p": 0.9}, {"temperature": 0.7, "top_p": 0.9}, {"temperature": 2.0, "top_p": 0.9}, {"temperature": 2.0, "min_p": 0.1}):
    kept, drawn = first_word(**settings)
    found[tuple(settings.values())] = len(kept), len(set(drawn)), sum(word not in kept for word in drawn) / len(drawn)
    print(settings, "words kept by transformers, drawn by mlx-lm, share of draws outside:", found[tuple(settings.values())])
assert found[1.0, 0.9][2] == 0
assert found[0.7, 0.9][2] > 0.02, "nothing is drawn beyond the nucleus now"
assert found[2.0, 0.9][1] < found[2.0, 0.9][0] / 2 and found[2.0, 0.1][1] < found[2.0, 0.1][0] / 2, "the cut is made after the temperature now"
PY
