# make demo   download, train, evaluate, report: everything, on the demo corpus
# make test   every test
# make paper-mini   the jobs of config/paper.yaml with tiny models and data made here, in paper-mini/; needs no internet
# make slurm-demo   the demo's training and evaluation as jobs of a real Slurm, started here; needs root
# make paper-preview   every table and figure of the paper from stand-ins, in results/preview/
# VENV=DIR    where the environment is (default .venv)

VENV ?= .venv
PYTHON ?= python3
BIN := $(abspath $(VENV))/bin
UV := $(BIN)/uv --quiet --no-config
export PATH := $(BIN):$(PATH)
export NO_ALBUMENTATIONS_UPDATE = 1

.PHONY: setup demo paper-preview paper-mini slurm-demo test test-unit lint lock pictures gpu-check bench-evaluation bench-loader bench-objectives bench-paper-table2 bench-scaling bench-train

setup: $(VENV)/.complete

$(VENV)/.complete: envs/requirements.lock envs/bootstrap.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.platform == "linux" or sys.exit("amorlip runs on Linux only; see README, troubleshooting")'
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r envs/bootstrap.lock
	$(UV) pip sync --require-hashes --python $(BIN)/python envs/requirements.lock
	$(UV) pip install --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@

demo: setup
	snakemake

# In a folder of its own: results/ shares corpora and tasks between studies, and these have the names of the real ones.
paper-mini: setup
	python -m tests.helpers.paper_mini paper-mini/data
	snakemake --directory paper-mini --configfile config/paper-mini.yaml

paper-preview: setup
	amorlip preview --output results/preview

slurm-demo: demo
	python -m tests.helpers.slurm_demo

# Two processes: most tests wait for programs that they start. A file's tests stay together and share its fixtures.
test: setup
	pytest --numprocesses 2 --dist loadfile

test-unit: setup
	pytest -m "not slow and not workflow and not distributed and not slurm"

lint: setup
	ruff check .
	ruff format --check .
	snakefmt --check workflow
	snakemake --lint
	lint-imports
	pyrefly check
	amorlip schema --check

# The diagrams in README.md and docs/architecture.md.
pictures: setup
	python docs/pictures/method.py
	python docs/pictures/workflow.py

bench-loader: setup
	amorlip bench loader --output results/bench

bench-objectives: setup
	amorlip bench objectives --output results/bench

gpu-check: setup
	amorlip check gpu --output results/bench

bench-train: setup
	amorlip bench train --output results/bench

bench-paper-table2: setup
	amorlip bench paper-table2 --output results/bench

bench-scaling: setup
	amorlip bench scaling --output results/bench

bench-evaluation: setup
	amorlip bench evaluation --output results/bench

# Resolved again from the direct requirements; versions and hashes only, so any index can serve them.
lock: setup
	$(UV) pip compile envs/requirements.in envs/requirements-dev.in --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --no-header -o envs/requirements.lock
	grep '^uv==' envs/requirements.lock | cut -d' ' -f1 | $(UV) pip compile - --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header -o envs/bootstrap.lock
