#!/usr/bin/env bash
# transformers 5.23.0, tokenizers 0.23.3.
# apply_chat_template(return_assistant_tokens_mask=True) marks the tokens that a model is trained on. It stops at the first assistant turn whose
# first character has no token, and marks none of the turns after it. Two usual settings bring that about, and the mask is all zeros
# or ends early, without a word:
# - truncation on the left, which is there to keep the last turns: the first turn is cut off, and the turns that are kept are unmarked;
# - a template whose turns begin with a space, and a byte-level tokenizer whose offsets leave spaces out (trim_offsets, as Llama 3 has it).
# Guess before it was run: the mask covers what is left of assistant turns, and with the space the same turns as without.
# Seen, marked text: whole "first<end>second<end>"; the last 16 tokens, which hold "second<end>" whole: "". With the space and trim_offsets: "".
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile transformers==5.23.0 tokenizers==0.23.3 jinja2==3.1.6
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

def tokenizer(trim):
    """A tokenizer of one token a byte."""
    raw = Tokenizer(models.BPE({byte: at for at, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=trim)
    raw.post_processor, raw.decoder = processors.ByteLevel(trim_offsets=trim), decoders.ByteLevel()
    raw.add_special_tokens(["<user>", "<model>", "<end>"])
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>", truncation_side="left")

template = """{% for turn in messages %}{% if turn.role == "user" %}<user>{{ turn.content }}<end>{% else %}<model>{% generation %}"""
template += """{{ before + turn.content }}<end>{% endgeneration %}{% endif %}{% endfor %}"""
roles = ("user", "hi"), ("assistant", "first"), ("user", "more"), ("assistant", "second")
messages = [{"role": role, "content": content} for role, content in roles]

def marked(trim, before, length=None):
    made = tokenizer(trim).apply_chat_template(messages, chat_template=template, before=before, return_dict=True, max_length=length,
                                               truncation=length is not None, return_assistant_tokens_mask=True)
    kept = [token for token, mark in zip(made["input_ids"], made["assistant_masks"]) if mark]
    return tokenizer(trim).decode(made["input_ids"]), tokenizer(trim).decode(kept)

found = {"whole": marked(False, ""), "cut": marked(False, "", 16), "space": marked(False, " "), "space, trimmed": marked(True, " ")}
for name, (text, mask) in found.items():
    print(name, repr(text), "marked:", repr(mask))
assert found["whole"][1] == "first<end>second<end>" and found["space"][1] == " first<end> second<end>"
assert "<model>second<end>" in found["cut"][0] and found["cut"][1] == "", "what is left of a cut dialogue is marked now"
assert found["space, trimmed"][1] == "", "a turn that begins with a space is marked now"
PY
