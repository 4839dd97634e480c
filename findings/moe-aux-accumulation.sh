#!/usr/bin/env bash
# transformers 5.23.0, torch 2.13.0, datasets 5.2.0, accelerate 1.15.0 (CPU, float32).
# A mixture of experts that is trained with output_router_logits adds router_aux_loss_coef times the balancing loss to its loss. Trainer divides the
# cross entropy by the tokens of all accumulated steps and leaves the balancing loss as it is, once a step: with gradient_accumulation_steps
# of 8 it weighs eight times what the coefficient says, and the logged loss has it eight times too. The same batch on a card with more memory trains the
# router with another coefficient, and a coefficient that was tuned with one number of steps is wrong with another. TRL's SFTTrainer and all others that leave the loss to
# the model and Trainer have it from there.
# Guess before it was run: eight equal rows give one gradient, in one step of eight rows or in eight of one, as they do without the balancing loss.
# Seen, norm of the router's gradient: coefficient 0: 0.0041 each; 0.1: 8x1 0.0270, 4x2 0.0561, 1x8 0.2314; loss 4.35, 4.55, 5.75 (4.15 without).
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile torch==2.13.0 transformers==5.23.0 datasets==5.2.0 accelerate==1.15.0
HF_HUB_OFFLINE=1 HF_HOME="$here/hub" venv/bin/python - <<'PY'
import torch
from datasets import Dataset
from transformers import MixtralConfig, MixtralForCausalLM, Trainer, TrainerCallback, TrainingArguments

ids = torch.randint(4, 64, (12,), generator=torch.Generator().manual_seed(0)).tolist()
rows = Dataset.from_list([{"input_ids": ids, "labels": ids, "attention_mask": [1] * 12}] * 8)
router, head = "model.layers.0.mlp.gate.weight", "lm_head.weight"

class Norms(TrainerCallback):
    """Norms of the router's and the last layer's gradient before the first update."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **rest):
        weights = dict(model.named_parameters())
        self.seen = [float(weights[name].grad.norm()) for name in (router, head)]

def first_step(coefficient, size, steps):
    torch.manual_seed(0)
    model = MixtralForCausalLM(MixtralConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                             num_key_value_heads=2, num_local_experts=4, output_router_logits=True,
                                             router_aux_loss_coef=coefficient))
    norms = Norms()
    arguments = TrainingArguments("out", report_to=[], use_cpu=True, disable_tqdm=True, max_steps=1, logging_steps=1, save_strategy="no",
                                  per_device_train_batch_size=size, gradient_accumulation_steps=steps, max_grad_norm=0)
    trainer = Trainer(model, arguments, train_dataset=rows, callbacks=[norms])
    trainer.train()
    return [*norms.seen, trainer.state.log_history[0]["loss"]]

found = {}
for coefficient in (0.0, 0.1):
    for size, steps in ((8, 1), (4, 2), (1, 8)):
        found[coefficient, steps] = first_step(coefficient, size, steps)
        print(f"coefficient {coefficient}, {size} rows x {steps}: router, head, loss", found[coefficient, steps])

def ratio(coefficient, at):
    return found[coefficient, 8][at] / found[coefficient, 1][at]

assert abs(ratio(0.0, 0) - 1) < 1e-3 and abs(ratio(0.0, 2) - 1) < 1e-3 and abs(ratio(0.1, 1) - 1) < 1e-3
balance = [found[0.1, steps][2] - found[0.0, steps][2] for steps in (1, 8)]
assert 7 < ratio(0.1, 0) < 9 and 7.9 < balance[1] / balance[0] < 8.1, "the balancing loss hangs otherwise on accumulation now"
PY
