PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LEAN := $(VENV)/.lean
WHOLE := $(VENV)/.whole
GPU := --device cuda --dtype bfloat16 --prompts 64 --chunks 1,4,16,64

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
	$(BIN)/selfreward bench --model 1m --prompts 16 --arms a,b,c,a2,e --out docs/results
	$(BIN)/selfreward bench --model 1m --prompts 4 --judgment-tokens 32 --arms a,b,d --repeats 1 --out docs/results
	$(BIN)/selfreward bench --model 30m --prompts 16 --judgment-tokens 32 --arms a,b,c,a2,e --out docs/results
	$(BIN)/selfreward bench --model 1m --sweep 64,256,1024,4096 --repeats 1 --out docs/results

bench-gpu: $(LEAN)  ## the same on the one GPU that there is, on shapes of real models
	$(BIN)/selfreward bench $(GPU) --shape qwen3-0.6b --arms a,b,c --out docs/results
	$(BIN)/selfreward bench $(GPU) --shape llama3-8b --lora --arms a,b --out docs/results
	$(BIN)/selfreward bench $(GPU) --shape qwen3-0.6b --train --out docs/results
	$(BIN)/selfreward bench $(GPU) --shape llama3-8b --train --lora --out docs/results

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
