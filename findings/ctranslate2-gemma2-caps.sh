#!/usr/bin/env bash
# ctranslate2 4.8.5, transformers 5.23.0, torch 2.13.0 (CPU, float32).
# Gemma 2 holds its logits to between -30 and 30 (final_logit_softcapping) and the scores of its attention to between -50 and 50
# (attn_logit_softcapping), as it was trained. ctranslate2's converter takes a Gemma 2 and leaves both out, without a warning: attention is another
# where scores are large, and what comes out is sharper. Samples, log-probabilities and a judge's expected score are of another model, and no
# temperature mends it. Without caps in config.json the two agree; of Gemma 4 the same converter keeps the final cap.
# Guess before it was run: the converted model has the logits of transformers, caps included, or is refused.
# Seen, largest difference of the logits: no caps 1e-05; final cap 10.4 (largest logit 24.7, converted 35.1); attention cap 0.52.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install --no-compile torch==2.13.0 transformers==5.23.0 ctranslate2==4.8.5
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error venv/bin/python - <<'PY'
import ctranslate2
import numpy
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerFast

words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{n}" for n in range(60))]
raw = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>").save_pretrained("model")
ids = torch.randint(4, 64, (1, 24), generator=torch.Generator().manual_seed(1))

def difference(final, attention):
    """Largest difference of the logits, and the largest logit of each, of one model that has these caps."""
    torch.manual_seed(0)
    config = Gemma2Config(vocab_size=64, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                          head_dim=16, query_pre_attn_scalar=16, pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.5,
                          final_logit_softcapping=final, attn_logit_softcapping=attention)
    model = Gemma2ForCausalLM._from_config(config, attn_implementation="eager").eval()
    model.save_pretrained("model")
    ctranslate2.converters.TransformersConverter("model").convert("converted", force=True)
    with torch.no_grad():
        right = model(ids).logits[0].numpy()
    found = numpy.array(ctranslate2.Generator("converted").forward_batch([[words[at] for at in ids[0]]]))[0]
    print("caps", final, attention, "difference", abs(found - right).max(), "largest", abs(right).max(), "converted", abs(found).max())
    return abs(found - right).max()

assert difference(None, None) < 1e-3
assert difference(30.0, None) > 1 and difference(None, 50.0) > 0.1, "the caps are kept now"
PY
