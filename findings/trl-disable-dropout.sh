#!/usr/bin/env bash
# trl 1.16.0, transformers 5.23.0, torch 2.13.0, datasets 5.2.0, accelerate 1.15.0 (CPU, float32).
# `disable_dropout` of DPOConfig (True unless told otherwise) reaches modules of torch's Dropout and no other. Many architectures of
# transformers drop out by a function that reads a number: Llama's and most others' attention_dropout, OPT's dropout (0.1 as it
# comes), Seed-OSS's residual_dropout and attention_dropout (0.1). There DPO trains with dropout while its settings say that it
# does not, and compares it with a reference that may have other noise: the first loss is not log 2, the first margins not 0. GPT-2, whose
# dropout is a module, is as promised. Precomputing the reference does not help.
# Guess before it was run: disable_dropout takes all dropout out, so that policy and reference agree to the bit before the first update.
# Seen, first loss: gpt2 0.6931, opt 0.6865, seed_oss 0.6857, llama with attention_dropout 0.1 0.6847.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 transformers==5.23.0 trl==1.16.0 datasets==5.2.0 accelerate==1.15.0
HF_HUB_OFFLINE=1 HF_HOME="$here/hub" venv/bin/python - <<'PY'
import math
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, OPTConfig, PreTrainedTokenizerFast, SeedOssConfig
from trl import DPOConfig, DPOTrainer

words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{n}" for n in range(60))]
raw = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
pairs = Dataset.from_list([{"prompt": "w1 w2 w3 ", "chosen": f"w4 w5 w{n}", "rejected": f"w6 w{n + 1} w7 w8"} for n in range(8)])
shape = dict(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64)
kinds = {
    "gpt2": GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.2),
    "opt": OPTConfig(**shape, ffn_dim=48, word_embed_proj_dim=32, init_std=0.2),
    "seed_oss": SeedOssConfig(**shape, intermediate_size=48, num_key_value_heads=2, head_dim=8, initializer_range=0.2),
    "llama": LlamaConfig(**shape, intermediate_size=48, attention_dropout=0.1, initializer_range=0.2),
}
found = {}
for kind, model in kinds.items():
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(model).save_pretrained(kind)
    config = DPOConfig("out", report_to=[], use_cpu=True, bf16=False, disable_tqdm=True, max_steps=1, logging_steps=1,
                       per_device_train_batch_size=8, save_strategy="no")
    assert config.disable_dropout
    trainer = DPOTrainer(kind, args=config, train_dataset=pairs, processing_class=tokenizer)
    trainer.train()
    found[kind] = trainer.state.log_history[0]["loss"]
print("first loss:", found, "log 2:", math.log(2))
assert abs(found.pop("gpt2") - math.log(2)) < 1e-6
assert all(abs(loss - math.log(2)) > 1e-3 for loss in found.values()), "dropout is disabled elsewhere too now"
PY
