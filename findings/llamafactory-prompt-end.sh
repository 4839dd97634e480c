#!/usr/bin/env bash
# llamafactory 0.9.5, torch 2.9.1, torchaudio 2.9.1, transformers 4.57.3, datasets 4.0.0 (CPU).
# A pair that is longer than cutoff_len loses the end of its prompt: what is asked last, the end of the user's turn and the header of the
# assistant's. The answers begin in the midst of the user's words. So the model is taught, in every long pair, that an answer follows without a
# header, and where instructions stand behind a document, that it follows no instruction; the rows are counted as any.
# Guess before it was run: a prompt is cut at its beginning, and what stands right before the answer stays, as vLLM's
# truncate_prompt_tokens has it.
# Seen: with cutoff_len 16, of a user's turn "w0 … w11 Tell me now ?" the tokens up to w9 are kept, and the answer follows w9.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install torch==2.9.1 torchaudio==2.9.1 transformers==4.57.3 datasets==4.0.0 accelerate==1.11.0 peft==0.18.1 trl==0.24.0 omegaconf==2.3.0 \
    einops==0.8.1 Pillow==12.0.0 librosa==0.11.0 av==16.0.0
venv/bin/pip -q install --no-deps llamafactory==0.9.5
HF_HUB_OFFLINE=1 HF_HOME="$here/hub" venv/bin/python -W ignore - 2>err <<'PY' || { tail -5 err; exit 1; }
from types import SimpleNamespace

from llamafactory.data.processor.pairwise import PairwiseDatasetProcessor
from llamafactory.data.template import TEMPLATES
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

words = ["<|im_start|>", "<|im_end|>", "<unk>", *"user assistant Tell me now ? a good bad one".split(), *(f"w{n}" for n in range(12))]
raw = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", unk_token="<unk>", additional_special_tokens=["<|im_start|>"])
asked = [{"role": "user", "content": " ".join(words[-12:]) + " Tell me now ?"}]
answers = [{"role": "assistant", "content": f"a {kind} one"} for kind in ("good", "bad")]


def chosen(room):
    processor = PairwiseDatasetProcessor(TEMPLATES["chatml"], tokenizer, None, SimpleNamespace(cutoff_len=room))
    ids, labels, *_ = processor._encode_data_example(asked, answers, None, None, [], [], [])
    first = next(at for at, label in enumerate(labels) if label >= 0)
    return tokenizer.convert_ids_to_tokens(ids[:first]), tokenizer.convert_ids_to_tokens(ids[first:])


for room in (64, 16):
    print(room, *chosen(room))
whole, cut = chosen(64)[0], chosen(16)[0]
assert whole[-3:] == ["<|im_end|>", "<|im_start|>", "assistant"] and "?" in whole
assert cut == whole[: len(cut)] and cut[-1] == "w9", "the end of a long prompt stays now"
PY
