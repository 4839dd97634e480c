PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LEAN := $(VENV)/.lean
WHOLE := $(VENV)/.whole
GPU := --device cuda --dtype bfloat16 --out docs/results
SIZES := --set prompts=64 --set chunks='[1,4,16,64]'

.PHONY: demo test check bench bench-gpu clean

demo: $(LEAN)  ## a small model teaches itself: M0 to M3, then the page
	$(BIN)/selfreward demo

test: $(WHOLE)  ## everything that needs no GPU and no network
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(WHOLE)  ## lint, types, tests
	$(BIN)/ruff check src tests scripts
	$(BIN)/ruff format --check src tests scripts
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile

bench: $(LEAN)  ## an iteration's time beside what people would use instead: hours; see `selfreward bench --help`
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/selfreward bench arms a,b,c,a2,e --model 1m --out docs/results
	$(BIN)/selfreward bench arms a,b,d --model 1m --set prompts=4 --set judgment_tokens='[32]' --repeats 1 --out docs/results
	$(BIN)/selfreward bench arms a,b,c,a2,e --model 30m --set judgment_tokens='[32]' --out docs/results
	$(BIN)/selfreward bench arms a,b --model 135m --set prompts=4 --set judgment_tokens='[32]' --repeats 1 --out docs/results
	$(BIN)/selfreward bench trainers --model 30m --out docs/results
	$(BIN)/selfreward bench trainers --model 135m --repeats 1 --out docs/results
	$(BIN)/selfreward bench profile --model 135m --set prompts=1 --out docs/results
	$(BIN)/selfreward bench sweep 64,256,1024,4096 --model 1m --repeats 1 --out docs/results

bench-gpu: $(LEAN)  ## the same on the one GPU that there is, on shapes of real models
	$(BIN)/selfreward bench arms a,b,c $(GPU) $(SIZES) --shape qwen3-0.6b
	$(BIN)/selfreward bench arms a,b $(GPU) $(SIZES) --shape llama3-8b --lora
	$(BIN)/selfreward bench training $(GPU) --shape qwen3-0.6b
	$(BIN)/selfreward bench training $(GPU) --shape llama3-8b --lora

# A CPU-only torch wheel on this machine is kept: asked for by name, an index would bring gigabytes of CUDA.
define install
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-index --no-deps torch || true
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.$(1)'
endef

$(LEAN): pyproject.toml constraints.txt  ## what a run needs
	$(call install)
	touch $(LEAN)

$(WHOLE): pyproject.toml constraints.txt  ## and what the tests need
	$(call install,[dev])
	touch $(LEAN) $(WHOLE)

clean:
	rm -rf $(VENV) build dist src/*.egg-info
