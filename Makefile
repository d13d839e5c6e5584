# Everything runs in .venv, made on first use with PYTHON (3.10 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-servers test-slow coverage fuzz bench check format docs dist release clean

help:
	@echo "make demo          see threat events arrive, over a DXL fabric on this machine"
	@echo "make test          run the tests that need Python alone"
	@echo "make test-servers  run those that need mosquitto, redis-server and rsyslogd"
	@echo "make test-slow     run those that take minutes (they need mosquitto)"
	@echo "make coverage      run the tests of make test and report what they cover of the library"
	@echo "make fuzz          feed random payloads to the library for a minute"
	@echo "make bench         measure speed beside a bare dxlclient callback"
	@echo "make check         lint, formatting, spelling and types"
	@echo "make format        format the code"
	@echo "make docs          build the docs into docs/_build/html"
	@echo "make dist          build the sdist and the wheel into dist, and check them"
	@echo "make release       say what a release of this version takes"
	@echo "make clean         remove what the commands above made"

$(BIN)/demo-installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[testing,cli]"
	touch $@

$(BIN)/dev-installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@ $(BIN)/demo-installed

demo: $(BIN)/demo-installed
	$(BIN)/python -m dxlthreateventclient demo

# They wait for processes and sockets more than they compute: with a process for each core they take half the time.
# A file stays in one process where its tests share what takes long to make.
PARALLEL := --numprocesses auto

test: $(BIN)/dev-installed
	$(BIN)/python -m pytest $(PARALLEL)

test-servers: $(BIN)/dev-installed
	$(BIN)/python -m pytest $(PARALLEL) --dist loadfile -m "servers and not slow"

test-slow: $(BIN)/dev-installed
	$(BIN)/python -m pytest $(PARALLEL) --dist loadfile -m slow

coverage: $(BIN)/dev-installed
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PARALLEL)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

fuzz: $(BIN)/dev-installed
	$(BIN)/python tests/slow/fuzz_payload.py

bench: $(BIN)/dev-installed
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/overhead.py

check: $(BIN)/dev-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/mypy

format: $(BIN)/dev-installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(BIN)/dev-installed
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

dist: $(BIN)/dev-installed
	rm -rf dist
	$(BIN)/validate-pyproject pyproject.toml
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

# It says what to do and does none of it: publishing is a person's decision.
release: VERSION = $(shell $(BIN)/python -m dxlthreateventclient --version | cut -d ' ' -f 2)
release: dist
	@grep -q '^## \[$(VERSION)\]' CHANGELOG.md || { \
		echo "CHANGELOG.md has no section [$(VERSION)] yet: give the entries under [Unreleased] that heading, and a date"; \
		exit 1; }
	@echo "dist holds version $(VERSION). To release it:"
	@echo "  git tag --annotate v$(VERSION) --message 'Version $(VERSION)'"
	@echo "  git push origin v$(VERSION)"
	@echo "  $(BIN)/twine upload dist/*"

clean:
	rm -rf $(VENV) .nox build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	    .coverage* benchmarks/results.json
