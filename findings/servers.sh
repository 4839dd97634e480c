#!/bin/bash
# `transformers serve` (transformers 5.23.0, torch 2.13.0, CPU): a request's `seed` is set for the whole process when the request
# arrives, and taken by whichever request is sampled next. Asked one at a time, a seed gives its answer again; asked beside three
# others, the same requests give other answers, although "seed" is a field of each request and vLLM 0.32 gives the same four.
#
# Guess before it was run: a seed belongs to its request, so that the answers do not depend on what else is under way.
# Output seen:
#   one at a time, twice: the same answers
#   four at once: 0 of 4 answers are those of their seeds
set -euo pipefail
HERE=$(mktemp -d)
trap 'kill "${SERVER:-}" 2>/dev/null || true; rm -rf "$HERE"' EXIT
python3.11 -m venv "$HERE/venv"
"$HERE/venv/bin/pip" install -q torch==2.13.0
"$HERE/venv/bin/pip" install -q 'transformers[serving]==5.23.0'
export HF_HUB_OFFLINE=1 HF_HUB_CACHE="$HERE/hub" OMP_NUM_THREADS=1
mkdir -p "$HERE/hub"
cat > "$HERE/make.py" <<'PY'
import sys, torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{n}" for n in range(1000))]
raw = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
raw.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
torch.manual_seed(0)
config = LlamaConfig(vocab_size=len(words), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                     pad_token_id=0, bos_token_id=1, eos_token_id=2)
model = LlamaForCausalLM(config)
model.generation_config = GenerationConfig(do_sample=True, top_k=0, pad_token_id=0, bos_token_id=1, eos_token_id=2)
model.save_pretrained(sys.argv[1])
tokenizer.save_pretrained(sys.argv[1])
PY
"$HERE/venv/bin/python" "$HERE/make.py" "$HERE/model"
PORT=$("$HERE/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$HERE/venv/bin/transformers" serve "$HERE/model" --port "$PORT" --host 127.0.0.1 --device cpu > "$HERE/log" 2>&1 &
SERVER=$!
cat > "$HERE/ask.py" <<'PY'
import json, sys, time, urllib.request
from concurrent.futures import ThreadPoolExecutor
url, model = f"http://127.0.0.1:{sys.argv[1]}", sys.argv[2]
for _ in range(240):
    try:
        urllib.request.urlopen(f"{url}/health", timeout=5)
        break
    except OSError:
        time.sleep(1)
def ask(seed):
    body = {"model": model, "messages": [{"role": "user", "content": "w1 w2 w3"}], "temperature": 1.0, "top_p": 1.0, "max_tokens": 40, "seed": seed}
    asked = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(asked, timeout=300))["choices"][0]["message"]["content"]
first, again = [ask(seed) for seed in range(4)], [ask(seed) for seed in range(4)]
print("one at a time, twice:", "the same answers" if first == again else "other answers")
with ThreadPoolExecutor(4) as pool:
    together = [list(pool.map(ask, range(4))) for _ in range(3)]
kept = min(sum(a == b for a, b in zip(first, answers)) for answers in together)
print(f"four at once: {kept} of 4 answers are those of their seeds")
sys.exit(0 if first == again and len(set(first)) == 4 and kept < 4 else 1)
PY
"$HERE/venv/bin/python" "$HERE/ask.py" "$PORT" "$HERE/model"
