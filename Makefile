# All commands that check or build this project. nox, pre-commit and CI call make.
# The commands run in VENV, which is created on first use with PYTHON (3.10 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)

# The tests start hundreds of programs, which would compile all their imports each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-servers test-slow coverage fuzz attack bench bench-smoke check format docs dist release clean

help:
	@echo "make demo          show threat events arriving, over a DXL fabric on this machine"
	@echo "make test          run the tests that need only Python"
	@echo "make test-servers  run the tests that need mosquitto, redis-server, rsyslogd, systemd and root"
	@echo "make test-slow     run those that take long, and further variants (they need mosquitto)"
	@echo "make coverage      run the tests of make test and report which code they cover"
	@echo "make fuzz          feed random payloads to the library for a minute"
	@echo "make attack        run random programs against the library for two minutes (needs mosquitto)"
	@echo "make bench         measure the speed and compare it with a bare dxlclient callback"
	@echo "make bench-smoke   check that make bench works"
	@echo "make check         check style, formatting, spelling and types"
	@echo "make format        format the code"
	@echo "make docs          build the documentation into docs/_build/html"
	@echo "make dist          build the sdist and the wheel into dist, and check them"
	@echo "make release       print the steps that release this version"
	@echo "make clean         remove what these commands made"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(BIN)/demo-installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[testing]"
	touch $@

$(BIN)/dev-installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[dev]"
	touch $@ $(BIN)/demo-installed

demo: $(BIN)/demo-installed
	$(BIN)/python -m dxlthreateventclient demo --format text

# Several processes, because the tests mostly wait for other processes and sockets.
PARALLEL := --numprocesses auto --dist worksteal
# Keep the tests of a file in one process, because they share an expensive fixture.
BY_FILE := --numprocesses auto --dist loadfile

test: $(BIN)/dev-installed
	$(BIN)/python -m pytest $(PARALLEL)

test-servers: $(BIN)/dev-installed
	$(BIN)/python -m pytest $(BY_FILE) -m "servers and not slow"

test-slow: $(BIN)/dev-installed
	$(BIN)/python -m pytest $(BY_FILE) -m slow

coverage: $(BIN)/dev-installed
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PARALLEL)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

fuzz: $(BIN)/dev-installed
	$(BIN)/python tests/slow/fuzz_payload.py

# For a longer run, or to repeat one: make attack ATTACK="--seconds 3600 --seed 9 --broker fabric"
attack: $(BIN)/dev-installed
	$(BIN)/python -W ignore::DeprecationWarning tests/slow/attack.py $(ATTACK)

bench: $(BIN)/dev-installed
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/formats.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/listen.py

bench-smoke: $(BIN)/dev-installed
	$(BIN)/python benchmarks/bench.py --smoke --rounds 1 --output $(VENV)/bench-smoke.json

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

# Only print the steps, because publishing is a person's decision.
release: VERSION = $(shell $(BIN)/python -m dxlthreateventclient --version | cut -d ' ' -f 2)
release: dist
	@grep -q '^## \[$(VERSION)\]' CHANGELOG.md || { \
		echo "CHANGELOG.md has no section [$(VERSION)]: give the section [Unreleased] this heading and a date"; \
		exit 1; }
	@echo "dist holds version $(VERSION). To release it:"
	@echo "  git tag --annotate v$(VERSION) --message 'Version $(VERSION)'"
	@echo "  git push origin v$(VERSION)"
	@echo "  $(BIN)/twine upload dist/*"

clean:
	rm -rf $(VENV) .nox build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	    .coverage* benchmarks/results.json
