# make demo   the whole way on real data: train, prune, quantize, compile, measure
# make test   what CI runs
# make docs   the documentation, into site/
# make coverage   the tests, and which lines none of them runs
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARM_TESTS := tests/e2e/test_arm_qemu.py tests/e2e/test_cortex_m.py tests/targets \
	tests/runtime/device/test_qemu_arm.py

.PHONY: demo test unit coverage arm check docs slow clean

demo: $(VENV)/.build
	$(BIN)/edgekiln build resnet8 --target host --out dist

test: check docs unit

unit: $(VENV)/.dev
	$(BIN)/pytest -n auto -m "not slow" $(PYTEST_ARGS)

# Which lines no test runs; the same tests take a third longer.
coverage: $(VENV)/.dev
	$(BIN)/pytest -n auto -m "not slow" --cov --cov-report=term:skip-covered $(PYTEST_ARGS)

# Programs for Arm and for microcontrollers, under QEMU. What is skipped for want of a compiler or an
# emulator is a failure here.
arm: $(VENV)/.dev
	$(BIN)/pytest -n auto -m "not slow" --junitxml=$(VENV)/arm.xml $(ARM_TESTS)
	! grep -o 'message="[^"]*is not installed[^"]*"' $(VENV)/arm.xml

# The long versions: thousands of random kernels, real training runs, the CIFAR-10 test set.
slow: $(VENV)/.dev
	$(BIN)/pytest -n auto -m slow $(PYTEST_ARGS)
	$(BIN)/pytest -n auto -m "not slow" --hypothesis-profile=many tests/compiler/kernels

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	MYPYPATH=docs $(BIN)/mypy docs
	$(BIN)/lint-imports

# Every warning is an error, and nothing is fetched.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/.build: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[build]'
	touch $@

$(VENV)/.dev: $(VENV)/.build
	$(BIN)/pip install --quiet --editable '.[build,dev]'
	touch $@

clean:
	rm -rf dist site $(VENV)
