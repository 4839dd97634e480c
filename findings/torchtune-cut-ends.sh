#!/usr/bin/env bash
# torchtune 0.6.1, torchao 0.14.1, torch 2.13.0 (CPU).
# An answer that is longer than max_seq_len is cut, and its last token that is left is replaced by the end of the text, with loss on it.
# So every pair with a long answer teaches to stop in mid-sentence: of two answers that are cut at the same place, chosen and rejected
# both "end" there. Other trainers (TRL, LLaMA-Factory) cut without an end, so that nothing is learnt about where an answer stops.
# Guess before it was run: the cut answer is a prefix of the whole one, without an end-of-text token.
# Seen: of "w5 w6 w7 w8 </s>" with room for 3 tokens after the prompt, the labels are w5 w6 </s>; both sides of a pair end so.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 torchao==0.14.1 torchdata==0.11.0 datasets==5.2.0 omegaconf==2.3.0 kagglehub==0.3.13 tiktoken==0.12.0 \
    blobfile==3.1.0 sentencepiece==0.2.1 psutil==7.1.3 Pillow==12.0.0 tokenizers==0.22.1 jinja2==3.1.6
venv/bin/pip -q install --no-deps torchtune==0.6.1
cat > pairs.json <<'JSON'
[{"chosen": [{"role": "user", "content": "w1 w2 w3"}, {"role": "assistant", "content": "w5 w6 w7 w8"}],
  "rejected": [{"role": "user", "content": "w1 w2 w3"}, {"role": "assistant", "content": "w9 w6 w4 w8"}]}]
JSON
HF_HUB_OFFLINE=1 HF_HOME="$here/hub" venv/bin/python -W ignore - 2>/dev/null <<'PY'
from torchtune.datasets import preference_dataset
from torchtune.modules.transforms.tokenizers import ModelTokenizer, tokenize_messages_no_special_tokens

WORDS = ["<pad>", "<s>", "</s>", *(f"w{n}" for n in range(10))]


class Words(ModelTokenizer):
    """A word, a token."""

    special_tokens, bos_id, eos_id, pad_id, max_seq_len = {}, 1, 2, 0, None

    def encode(self, text, **_):
        return [WORDS.index(word) for word in text.split()]

    def tokenize_messages(self, messages, **_):
        return tokenize_messages_no_special_tokens(self, messages, bos_id=1, eos_id=2)

    def __call__(self, sample, inference=False):
        sample["tokens"], sample["mask"] = self.tokenize_messages(sample.pop("messages"))
        return sample


def learnt(room):
    words = Words()
    words.max_seq_len = room
    row = preference_dataset(words, source="json", data_files="pairs.json", split="train")[0]
    return {side: " ".join(WORDS[token] for token in row[f"{side}_labels"] if token >= 0) for side in ("chosen", "rejected")}


whole, cut = learnt(None), learnt(7)
print("whole:", whole, "\ncut:  ", cut)
assert whole == {"chosen": "w5 w6 w7 w8 </s>", "rejected": "w9 w6 w4 w8 </s>"}
assert cut == {"chosen": "w5 w6 </s>", "rejected": "w9 w6 </s>"}, "a cut answer has no made-up end now"
PY
