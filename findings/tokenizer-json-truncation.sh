#!/usr/bin/env bash
# transformers 5.23.0, tokenizers 0.23.3.
# A tokenizer of transformers that was last called with truncation or padding writes both into tokenizer.json when it is saved. AutoTokenizer sets
# them anew at each call, so that nobody who reads the file by transformers sees it; all that read tokenizer.json by itself (the library
# tokenizers, and what is built on it in Rust, JavaScript, Go or ONNX) cut each text to the length that one training script
# used, or fill it up with padding. A model trained with max_length=4 so answers prompts cut to four tokens.
# Guess before it was run: the file holds the tokenizer and nothing of its last call; six words are six tokens.
# Seen: AutoTokenizer [4, 5, 6, 7, 8, 9], Tokenizer.from_file [4, 5, 6, 7]; padding="max_length" alone: [4, 5, 0, 0, 0, 0, 0, 0] of two words.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile transformers==5.23.0 tokenizers==0.23.3
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{n}" for n in range(60))]

def read_back(text, **call):
    """Tokens of `text` by AutoTokenizer and by tokenizers, of a tokenizer saved after a call with `call`."""
    raw = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    tokenizer(text, **call)
    tokenizer.save_pretrained("saved")
    return AutoTokenizer.from_pretrained("saved")(text)["input_ids"], Tokenizer.from_file("saved/tokenizer.json").encode(text).ids

cut = read_back("w0 w1 w2 w3 w4 w5", truncation=True, max_length=4)
filled = read_back("w0 w1", padding="max_length", max_length=8)
print("truncation", cut, "padding", filled)
assert cut[0] == [4, 5, 6, 7, 8, 9] and filled[0] == [4, 5]
assert cut[1] == [4, 5, 6, 7] and filled[1] == [4, 5, 0, 0, 0, 0, 0, 0], "the last call is no longer saved"
PY
