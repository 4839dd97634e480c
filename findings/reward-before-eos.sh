#!/usr/bin/env bash
# trl 1.16.0, transformers 5.23.0, torch 2.13.0, datasets 5.2.0, accelerate 1.15.0 (CPU, float32).
# TRL's RewardTrainer ends each answer with the end-of-sequence token, and takes that token for padding where the tokenizer has none of its own. A
# reward model of transformers reads its score at the last token that is not the padding token, whatever the attention mask says. The
# two together: the score is read before the end token, so that no reward depends on it. An answer that ended and the same answer cut off
# have the same reward to the bit, and a policy is never told apart by whether it stops. With a padding token of its own they differ.
# Guess before it was run: the score is read at the end token that was put there, and an answer without it has another score.
# Seen, ended and cut off: with a padding token 0.805 and 1.474; padding by the end token 1.474 and 1.474.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile torch==2.13.0 transformers==5.23.0 trl==1.16.0 datasets==5.2.0 accelerate==1.15.0
HF_HUB_OFFLINE=1 HF_HOME="$here/hub" venv/bin/python - <<'PY'
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast
from trl import RewardConfig, RewardTrainer

words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{n}" for n in range(60))]
raw = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
pairs = Dataset.from_list([{"prompt": "w1 w2 w3 ", "chosen": f"w4 w5 w{n}", "rejected": f"w6 w{n + 1} w7"} for n in range(4)])

def scores(pad):
    """Scores of an answer as it is trained on, and of the same without its end token, by a model that RewardTrainer has set up."""
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                                                       num_attention_heads=4, num_labels=1, initializer_range=0.2))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token=pad)
    config = RewardConfig("out", report_to=[], use_cpu=True, bf16=False)
    trainer = RewardTrainer(model, config, train_dataset=pairs, processing_class=tokenizer)
    row = next(iter(trainer.train_dataset))
    ids = torch.tensor(row["chosen_ids"] if "chosen_ids" in row else row["chosen_input_ids"])[None]
    assert ids[0, -1] == 2, "the answer is not ended with the end token"
    with torch.no_grad():
        return [round(float(trainer.model.eval()(input_ids=one, attention_mask=torch.ones_like(one)).logits), 6) for one in (ids, ids[:, :-1])]

found = {pad: scores(pad) for pad in ("<pad>", None)}
print("ended, cut off, by padding token:", found)
assert found["<pad>"][0] != found["<pad>"][1]
assert found[None][0] == found[None][1], "the end token counts now"
PY
