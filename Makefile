# make run | test | check | bench: each does all of its own set-up.
SURVEY ?= surveys/default.toml
SKY ?=
PYTHON ?= python3
EXTRAS ?= cpu,sandbox,embedded-db,emri,forest,hats,qp,dev
BIN := .venv/bin
export SKY
export PYTHONSAFEPATH := 1

.PHONY: help setup run test lab unit unit-model unit-rest check format bench systems clean model pipeline cluster schemas tests docs benchmarks surveys
help:
	@echo "make run [SURVEY=file.toml] [SKY=folder]   set up, then the main job"
	@echo "make test     set up, then all tests        make unit    only the fast ones"
	@echo "make check    format, lint, types, imports  make bench   the benchmark table (long)"
	@echo "make lab      a shell on the login node of a small Slurm cluster on this machine (root on Debian)"
	@echo "make systems [SYSTEM=name]                  run the published systems, write docs/systems (hours)"
	@echo "make clean    remove what make made (not the runs)"

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "skymill needs Python 3.11 or newer with venv (Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

run: setup
	$(BIN)/skymill run $(SURVEY)

test: setup
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lab: # a shell on the login node of a small Slurm cluster on this machine (root on Debian)
	$(PYTHON) tests/slurm/lab.py shell

unit: setup
	@$(MAKE) --no-print-directory -j 2 --output-sync unit-model unit-rest
unit-model: # beside the rest, which takes as long and does not import TensorFlow
	$(BIN)/python -m pytest -q tests/unit/model model tests/unit/cluster cluster tests/architecture
unit-rest:
	$(BIN)/python -m pytest -q --ignore tests/unit/model --ignore tests/unit/cluster tests/unit schemas pipeline

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS),bench]'
	$(BIN)/python -m benchmarks.table $(if $(SKY),--sky $(SKY))

systems: setup
	$(BIN)/python -m benchmarks.systems $(SYSTEM)

clean:
	-$(BIN)/skymill db stop
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
