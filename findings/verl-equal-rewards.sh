#!/usr/bin/env bash
# verl 0.9.1 (compute_grpo_outcome_advantage and its vectorized twin), torch 2.13.0 (CPU, float32).
# GRPO compares the answers to one prompt: rewards less their mean, by their standard deviation. Where all have 7.3 points of ten the mean, in
# float32, can be one last bit beside 7.3, and so is the deviation then; an epsilon of 1e-6 is no larger, and the quotient is a third. So a group
# that says nothing pushes all its tokens with an advantage of 0.3, of 87.3 points with 0.8, all in one direction, as a reward of its own
# would. Rewards of 0, 0.5 and 1, which float32 holds exactly, never show it; means of judges' scores and rewards with
# a bonus for form do, the more so the more alike a trained policy's answers are.
# Guess before it was run: equal rewards have an advantage of 0, to within 1e-4.
# Seen, rewards 0.1, 0.2 ... 10.0, groups above 0.1 of 100: 6 answers 36, 7 and 8 answers 56; largest 0.472; eight of 7.3: 0.316; halves and 4 or 5 answers 0.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile torch==2.13.0 transformers==5.23.0 tensordict==0.15.3 omegaconf==2.4.0 ray==2.60.0 codetiming==1.4.0 orjson==3.13.0 accelerate==1.15.0
venv/bin/pip -q install --no-compile --no-deps verl==0.9.1
HF_HUB_OFFLINE=1 venv/bin/python -W ignore - <<'PY'
import numpy
import torch
from verl.trainer.ppo import core_algos

ways = core_algos.compute_grpo_outcome_advantage, core_algos.compute_grpo_vectorized_outcome_advantage

def advantage(way, rewards):
    """Largest advantage, on either side of 0, of answers of five tokens to one prompt, whose reward stands at the last token."""
    tokens = torch.zeros(len(rewards), 5)
    tokens[:, -1] = torch.tensor(rewards)
    group = numpy.array(["prompt"] * len(rewards), dtype=object)
    found = way(tokens, torch.ones_like(tokens), group)[0]
    return float(found.flatten()[found.abs().argmax()])

tenths, halves = [at / 10 for at in range(1, 101)], [at / 2 for at in range(21)]
for way in ways:
    found = {}
    for answers in (4, 5, 6, 7, 8):
        pushed = [abs(advantage(way, [reward] * answers)) for reward in tenths]
        assert all(advantage(way, [reward] * answers) == 0 for reward in halves)
        found[answers] = sum(push > 0.1 for push in pushed), round(max(pushed), 3)
    print(way.__name__, "of 100 rewards above 0.1, and largest, by answers:", found, "8 of 7.3:", round(advantage(way, [7.3] * 8), 3))
    assert 2 < abs(advantage(way, [0.0] + [1.0] * 7)) < 3
    assert sum(many for many, _ in found.values()) > 20 and max(far for _, far in found.values()) > 0.3, "equal rewards have no advantage now"
PY
