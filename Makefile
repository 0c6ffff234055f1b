# make quickstart   set everything up and run a first container
# make test         run the tests
# make check        what CI runs: lint, types, layering, tests
# make test-cgroup2 run the tests of the kernel in a virtual machine with cgroup version 2 only;
#                   ONLY=tests/kernel/test_limits.py chooses some
# make bench        measure beside dockerd and podman; ONLY=run,exec chooses groups,
#                   TARGETS=barque,dockerd chooses programs

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: quickstart test test-cgroup2 check bench packages clean

quickstart: $(INSTALLED) packages
	@$(SUDO) scripts/first-container $(BIN)/barque

test: $(INSTALLED) packages
	$(BIN)/python -m pytest -rs

test-cgroup2: $(INSTALLED) packages
	$(SUDO) scripts/test-cgroup2 -rs --durations=5 $(or $(ONLY),tests/kernel tests/clients/test_limits.py)

check: $(INSTALLED) packages
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -rs

bench: $(INSTALLED) packages
	PYTHONPATH=tests:. $(BIN)/python -m bench --only '$(ONLY)' --targets '$(TARGETS)'

packages:
	@scripts/system-packages

$(INSTALLED): pyproject.toml
	@scripts/find-python > /dev/null
	"$$(scripts/find-python)" -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist bench/results .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis .import_linter_cache src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
