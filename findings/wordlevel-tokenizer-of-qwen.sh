#!/usr/bin/env bash
# transformers 5.23.0, tokenizers 0.23.3.
# A fast tokenizer that is no byte-level BPE (here: one token a word), saved beside a config.json of model_type qwen2 (or qwen3_5),
# is read back by AutoTokenizer as Qwen2Tokenizer, although tokenizer_config.json names the general class (TokenizersBackend) and
# tokenizer.json has the whole tokenizer. It keeps the vocabulary and the special tokens and makes no token of any other text: every
# prompt encodes to [], and nothing is raised. Beside a config.json of llama or qwen3 the same files come back as they were saved.
# Seen: llama [2, 3], qwen3 [2, 3], qwen2 [].
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install transformers==5.23.0 tokenizers==0.23.3
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen3Config

tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "<end>": 1, "red": 2, "fox": 3}, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
found = {}
for config in (LlamaConfig(), Qwen3Config(), Qwen2Config()):
    config.save_pretrained(config.model_type)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>").save_pretrained(config.model_type)
    again = AutoTokenizer.from_pretrained(config.model_type)
    found[config.model_type] = again("red fox")["input_ids"]
    print(config.model_type, type(again).__name__, found[config.model_type])
assert found == {"llama": [2, 3], "qwen3": [2, 3], "qwen2": []}, "AutoTokenizer reads it otherwise now"
PY
