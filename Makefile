# make bench: everything from a fresh clone. Needs Python 3.11+ with venv, git and make.
WORKERS ?= $(shell env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
PYTHON  ?= python3
VENV    ?= .venv
PY      := $(VENV)/bin/python
export OMP_NUM_THREADS = 1

.PHONY: help install bench smoke test-one test test-slow matrix perf verify check report figures clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 10
	@echo 'Variables: SUITE=$(or $(SUITE),quick) WORKERS=$(WORKERS) M=method TASK=task SEEDS=0-2 RECORDS=folder FIG=6 PYTHON=$(PYTHON)'

# torch first: its CPU build must stand before a dependency asks for another one
$(VENV)/.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

install: $(VENV)/.stamp  ## the environment alone, in .venv

bench: $(VENV)/.stamp  ## run SUITE (what is left of it), then tables and figures in reports/out/SUITE/
	$(PY) -m benchmark run $(SUITE) --workers $(WORKERS) $(foreach m,$(M),--method $(m)) $(foreach t,$(TASK),--task $(t)) $(if $(SEEDS),--seeds $(SEEDS))

smoke:  ## every method on the three main tasks at toy budget
	@$(MAKE) bench SUITE=smoke

report: $(VENV)/.stamp  ## page, tables and figures of SUITE from its records (RECORDS=folder: of its largest suite)
	$(PY) -m benchmark report $(SUITE) $(if $(RECORDS),--results $(RECORDS))

figures: $(VENV)/.stamp  ## figure FIG (number or name) of SUITE, in reports/out/SUITE/figures/ (RECORDS=folder)
	$(if $(FIG),,$(error which figure? make figures FIG=6))
	$(PY) -m benchmark figures $(FIG) $(SUITE) $(if $(RECORDS),--results $(RECORDS))

test-one: $(VENV)/.stamp  ## the checks that every method must pass, for method M
	$(if $(M),,$(error which method? make test-one M=name))
	$(PY) -m benchmark check $(M)

test: $(VENV)/.stamp  ## all tests but those of minutes each
	$(PY) -m pytest -q -n $(WORKERS)

matrix:  ## the same tests on each of Python 3.11, 3.12 and 3.13 that is installed
	@for v in 3.11 3.12 3.13; do \
	  if python$$v -c '' 2>/dev/null; then $(MAKE) test PYTHON=python$$v VENV=.venv-$$v || exit 1; \
	  else echo "Python $$v is not installed: not tested"; fi; done

perf: $(VENV)/.stamp  ## speeds as ratios to their floors, in reports/out/perf.{md,json}
	$(PY) -m benchmark perf

test-slow: $(VENV)/.stamp  ## the tests that take minutes each
	$(PY) -m pytest -q -m slow

check: $(VENV)/.stamp  ## formatting, lint, types, then make test
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	@$(MAKE) test

verify: $(VENV)/.stamp  ## run a random 5 % of the reference cells again (RECORDS=folder); exits with 1 if they are not reproduced
	$(PY) -m benchmark verify --workers $(WORKERS) $(if $(RECORDS),--records $(RECORDS))

clean:  ## remove the environment, caches and reports; records stay
	rm -rf .venv .venv-* build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis reports/out results/cache*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
