#!/usr/bin/env bash
# torch 2.13.0, transformers 5.23.0 (CPU, float32).
# generate(stop_strings=...) "should terminate generation if the model outputs them", but a stop string is looked for in prompt and answer
# together. Where the prompt ends with the first part of one and the model writes the rest, generation ends: with the prompt "...\nA:\n" and the
# stop string "\n\n", which few-shot evaluations use, an answer that begins with a line end ends there, empty. In a batch that
# hits single rows. Servers (vLLM, llama.cpp) look at the answer alone. A stop string that stands whole in the prompt does no harm.
# Guess before it was run: only what is generated counts, and the answer is "\nhello".
# Seen: prompt "Q: x\nA:\n" gives "\n"; prompt "Q: x\nA:" gives "\nhello", by the same model that is made to write "\nhello".
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile torch==2.13.0 transformers==5.23.0
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

raw = Tokenizer(models.BPE({byte: at for at, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
raw.add_special_tokens(["<end>"])
tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>", pad_token="<end>")
model = LlamaForCausalLM(LlamaConfig(vocab_size=257, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                                     bos_token_id=None, eos_token_id=256, pad_token_id=256)).eval()
wanted = tokenizer("\nhello")["input_ids"]

def written(prompt):
    """What a model that is made to write "\\nhello" gets to write."""
    asked = tokenizer(prompt, return_tensors="pt")
    start = asked["input_ids"].shape[1]
    says = lambda row, ids: [wanted[len(ids) - start]]
    made = model.generate(**asked, max_new_tokens=len(wanted), do_sample=False, prefix_allowed_tokens_fn=says, stop_strings=["\n\n"],
                          tokenizer=tokenizer)
    return tokenizer.decode(made[0, start:])

found = {prompt: written(prompt) for prompt in ("Q: x\nA:\n", "Q: x\nA:", "Q: x\n\nA:")}
print(found)
assert found["Q: x\nA:"] == found["Q: x\n\nA:"] == "\nhello"
assert found["Q: x\nA:\n"] == "\n", "the prompt's end no longer counts"
PY
