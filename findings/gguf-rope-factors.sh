#!/usr/bin/env bash
# torch 2.13.0, transformers 5.23.0, gguf 0.19.0, accelerate 1.15.0 (CPU, float32).
# A GGUF file of Llama 3.1, 3.2 or 3.3 has no setting for the stretched positions of these models: llama.cpp's converter writes them as a tensor,
# rope_freqs.weight, by which each rotary frequency is divided. from_pretrained(gguf_file=...) passes that tensor over, and
# llama.rope.scaling.type = "yarn" or "linear" likewise, without a warning. The model comes out with the plain positions, which it was not
# trained with: what is measured, judged or trained with it is another model than llama.cpp runs from the same file, the more so the longer the text.
# Guess before it was run: the same logits as the weights have with rope_type llama3 in config.json.
# Seen: rope_type "default" for all files; largest difference of the logits to those with the right positions 1.56 for llama3, 0 for the plain file.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 transformers==5.23.0 gguf==0.19.0 accelerate==1.15.0
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import gguf
import numpy
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

sizes = dict(vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5)
llama3 = dict(rope_type="llama3", rope_theta=1e4, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
plain = dict(rope_type="default", rope_theta=1e4)

def frequencies(rope):
    return LlamaForCausalLM(LlamaConfig(**sizes, rope_parameters=rope)).model.rotary_emb.inv_freq.numpy()

def write(path, factors=None, scaling=None):
    """A file as convert_hf_to_gguf.py lays it out."""
    writer, rng = gguf.GGUFWriter(path, "llama"), numpy.random.default_rng(0)
    writer.add_context_length(512), writer.add_embedding_length(64), writer.add_block_count(2), writer.add_feed_forward_length(64)
    writer.add_head_count(2), writer.add_head_count_kv(2), writer.add_layer_norm_rms_eps(1e-5), writer.add_rope_dimension_count(32)
    writer.add_rope_freq_base(1e4), writer.add_vocab_size(64), writer.add_tokenizer_model("gpt2"), writer.add_token_list([f"w{n}" for n in range(64)])
    if scaling:
        writer.add_rope_scaling_type(scaling), writer.add_rope_scaling_factor(8.0), writer.add_rope_scaling_orig_ctx_len(64)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors.astype(numpy.float32))
    shapes = {"token_embd": (64, 64), "output": (64, 64), "output_norm": (64,)}
    for at in range(2):
        shapes |= {f"blk.{at}.{name}": (64,) if "norm" in name else (64, 64) for name in
                   ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "attn_norm", "ffn_norm")}
    for name, shape in shapes.items():
        writer.add_tensor(name + ".weight", (rng.normal(size=shape) * 0.3).astype(numpy.float32))
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()

write("plain.gguf")
write("llama3.gguf", frequencies(plain) / frequencies(llama3))
write("yarn.gguf", scaling=gguf.RopeScalingType.YARN)
write("linear.gguf", scaling=gguf.RopeScalingType.LINEAR)
ids, found = torch.randint(0, 64, (1, 300), generator=torch.Generator().manual_seed(0)), {}
for name in ("plain", "llama3", "yarn", "linear"):
    model = AutoModelForCausalLM.from_pretrained(".", gguf_file=name + ".gguf", dtype=torch.float32).eval()
    right = LlamaForCausalLM(LlamaConfig(**sizes, rope_parameters=llama3 if name == "llama3" else plain)).eval()
    right.load_state_dict(model.state_dict())
    with torch.no_grad():
        found[name] = model.config.rope_parameters["rope_type"], float((model(ids).logits - right(ids).logits).abs().max())
print("positions, and difference to the right ones of llama3:", found)
assert found["plain"][1] == 0
assert {kind for kind, _ in found.values()} == {"default"} and found["llama3"][1] > 0.1, "stretched positions are read now"
PY
