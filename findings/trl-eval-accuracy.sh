#!/usr/bin/env bash
# trl 1.16.0, transformers 5.23.0, torch 2.13.0, datasets 5.2.0, accelerate 1.15.0 (CPU, float32).
# DPOTrainer.evaluate() gives eval_loss as the mean over the pairs, and beside it eval_rewards/accuracies (and margins, chosen,
# rejected, logps) as the plain mean over the batches: the pairs of a short last batch weigh more. Two figures of one line of the log
# so follow two rules, and the accuracy by which runs are compared or the best checkpoint is kept hangs on the size of the eval
# batch, on small held-out sets by much.
# Guess before it was run: the accuracy is the share of all pairs, at every batch size, as the loss beside it is their mean.
# Seen, five pairs, the same two models: eval batch 1 and 5: 0.4; 2: 0.5; 4: 0.625. eval_loss is 0.6949 at each.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 transformers==5.23.0 trl==1.16.0 datasets==5.2.0 accelerate==1.15.0
HF_HUB_OFFLINE=1 HF_HOME="$here/hub" venv/bin/python - <<'PY'
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{n}" for n in range(60))]
raw = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                     pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.2))
model.save_pretrained("reference")
for weight in model.parameters():
    weight.data += 0.05 * torch.randn_like(weight)
model.save_pretrained("model")
pairs = Dataset.from_list([{"prompt": "w1 w2 w3 ", "chosen": f"w4 w5 w{n}", "rejected": f"w6 w{n + 1} w7 w8"} for n in range(5)])
found = {}
for size in (1, 2, 4, 5):
    config = DPOConfig("out", report_to=[], use_cpu=True, bf16=False, disable_tqdm=True, per_device_eval_batch_size=size)
    reference = LlamaForCausalLM.from_pretrained("reference")
    trainer = DPOTrainer("model", reference, config, train_dataset=pairs, eval_dataset=pairs, processing_class=tokenizer)
    measured = trainer.evaluate()
    found[size] = measured["eval_loss"], measured["eval_rewards/accuracies"]
print("loss and accuracy by eval batch:", found)
losses, accuracies = zip(*found.values())
assert max(losses) - min(losses) < 1e-5, "eval_loss hangs on the batch size now"
assert abs(found[5][1] - found[1][1]) < 1e-6, "one batch of all pairs does not give the share of pairs"
assert max(accuracies) - min(accuracies) > 0.1, "the accuracy no longer hangs on the batch size"
PY
