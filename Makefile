# Everything runs in .venv, which the first target that needs it makes.

# The first Python of a version that every package has wheels for.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import ensurepip, sys; \
	sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$python && break; done)
BIN := .venv/bin
# Two test files at a time.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
# What make check runs: scripts, oracle, captures, faults and pages.
CHECKS := scripts one_trajectory outputs faults pages questions build_readme

.PHONY: help examples further check test readme notebook outputs figures lint \
	clean
.DEFAULT_GOAL := help

help:
	@echo "make examples  train all nine nets, one after the other"
	@echo "make further   run the scripts of further/, costs.py last"
	@echo "make check     run the tests that every change needs"
	@echo "make test      run every test"
	@echo "make readme    rebuild each README.md and the notebook"
	@echo "make notebook  rebuild the notebook alone"
	@echo "make outputs   run the scripts and the faults, keep what they print"
	@echo "make figures   draw the figures from the kept outputs"
	@echo "make lint      check the code and its format with ruff"
	@echo "make clean     remove .venv and the caches"

examples: PAGE = README_raw.md
further: PAGE = further/README_raw.md
# In the order of the page.
examples further: .venv/installed
	@for script in $$(sed -n 's/^:INCLUDE \(.*\.py\)$$/\1/p' $(PAGE)); do \
		echo; echo "== $$script"; $(BIN)/python $$script || exit 1; \
	done

# On Linux, keep free memory for the next step: it saves a quarter of the time.
check test: export MALLOC_TRIM_THRESHOLD_ = 1000000000
check test: export MALLOC_MMAP_THRESHOLD_ = 1000000000

check: .venv/installed
	$(PYTEST) $(CHECKS:%=tests/test_%.py)

test: .venv/installed
	$(PYTEST)

readme: .venv/installed-dev
	$(BIN)/python build_readme.py
	$(BIN)/python tools/make_notebook.py

notebook: .venv/installed-dev
	$(BIN)/python tools/make_notebook.py

outputs: .venv/installed
	$(BIN)/python tools/make_outputs.py

figures: .venv/installed-dev
	$(BIN)/python tools/draw_figures.py

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

clean:
	rm -rf .venv .pytest_cache .ruff_cache __pycache__ */__pycache__

.venv/installed: requirements.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 with venv" \
		"here. Install one (on Debian: apt install python3-venv), or name" \
		"it: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -r $<
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(BIN)/python -m pip install --disable-pip-version-check -r $<
	@touch $@
