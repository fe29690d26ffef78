# make demo   the whole way on real data: train, prune, quantize, compile, measure
# make test   what CI runs
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test check slow clean

demo: $(VENV)/.build
	$(BIN)/edgekiln build resnet8 --target host --out dist

test: check
	$(BIN)/pytest -n auto -m "not slow" --cov --cov-report=term:skip-covered $(PYTEST_ARGS)

# The long versions: thousands of random kernels, real training runs, the CIFAR-10 test set.
slow: $(VENV)/.dev
	$(BIN)/pytest -n auto -m slow $(PYTEST_ARGS)
	$(BIN)/pytest -n auto -m "not slow" --hypothesis-profile=many tests/compiler/kernels

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.build: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[build]'
	touch $@

$(VENV)/.dev: $(VENV)/.build
	$(BIN)/pip install --quiet --editable '.[build,dev]'
	touch $@

clean:
	rm -rf dist $(VENV)
