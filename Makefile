# The whole of lensflow from a fresh machine: Python 3.11 or later and make are enough.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
# Installed; installed and its kernels compiled; with torch and the libraries that read exports.
INSTALLED := $(VENV)/.lensflow-installed
READY  := $(VENV)/.lensflow-ready
TRAINS := $(VENV)/.lensflow-trains
# pip chooses its wheel, by the indexes that it is set to: one for processors alone where there is one.
TORCH  ?= torch==2.13.0
OUT    ?= runs/demo
# As in pyproject.toml's extra; not in the lock, only the site needs them.
DOCS    = "sphinx>=8" "pydata-sphinx-theme>=0.16" "myst-nb>=1.2" "numpydoc>=1.8" "sphinx-copybutton>=0.5" "sphinx-design>=0.6"
PIP     = $(BIN)/python -m pip install --quiet --disable-pip-version-check
# A fifth of pip's time; what it cannot reach (pip has settings of its own for that), pip installs.
INSTALL = $(PIP) uv && $(BIN)/uv pip install --quiet --python $(BIN)/python

# Bytecode is kept, whatever the machine says: every process, and a run has many, would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup install kernels demo test test-both notebooks notebooks-refresh test-all test-whole test-train test-cluster test-s3 test-faults lint format types docs zoo bench lock clean

help:  ## show this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 20

setup: $(READY)  ## make .venv with the locked versions (the other targets do this themselves)
install: $(INSTALLED)

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "lensflow needs Python >= 3.11; set PYTHON=/path/to/it"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked versions into $(VENV) (once; about a minute)"
	@$(INSTALL) -r requirements.lock || $(PIP) -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e . || $(PIP) --no-deps -e .
	@touch $@

$(READY): $(INSTALLED)
	@echo "Compiling the kernels (once; one to three minutes)"
	@$(BIN)/lensflow warm-up
	@touch $@

$(TRAINS): $(READY) requirements-train.lock
	@echo "Installing torch and the libraries that read exports into $(VENV) (once; about a minute)"
	@$(PIP) --no-compile $(TORCH)
	@$(INSTALL) -r requirements-train.lock || $(PIP) -r requirements-train.lock
	@touch $@

# Some tests need more: compiled here once, not by each process of a set.
kernels: $(INSTALLED)
	@$(BIN)/python -m tests.kernels

demo: $(READY)  ## survey pixels to a verdict, end to end, into runs/demo
	@$(BIN)/lensflow demo --out $(OUT)

# Two processes share the cores already: BLAS with threads of its own in each makes both slower.
test test-both test-all test-whole test-train test-s3 notebooks: export OMP_NUM_THREADS = 1
test test-both test-all test-whole test-train test-s3 notebooks: export OPENBLAS_NUM_THREADS = 1
test: $(READY)  ## the fast tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Every process of a set imports and collects for itself, so CI runs both in one; its other lane takes some folders.
PROCESSES ?= 2
ONLY      ?= tests
EXCEPT    ?=
test-both: $(READY)
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile -m "not slow and not s3 and not faults and not cluster and not yarn and not train" $(ONLY) $(addprefix --ignore=,$(EXCEPT))

# Folders of the tests that make whole runs: the others need not be collected.
WHOLE  := tests/run tests/show tests/cli tests/workflows tests/measure tests/real tests/surveys tests/test_readme.py
test-whole: $(READY)  ## tests that make whole runs
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "whole and not slow and not faults" $(WHOLE)

# The notebook is the longest of them and one test: it begins, so that nothing waits for it.
test-train: $(TRAINS)  ## exports read back by other libraries, and trainings (installs torch)
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m "train and not slow" tests/test_notebooks.py $(wildcard tests/training tests/export) tests/measure/zoo

notebooks: $(READY)  ## execute the notebooks from top to bottom
	$(BIN)/python -m pytest -m slow tests/test_notebooks.py

notebooks-refresh: $(READY)  ## execute the notebooks and store their outputs (notebooks/README.md)
	$(BIN)/python notebooks/refresh.py

test-all: $(READY)  ## every test that this machine can run, slow ones and staged failures too
	$(BIN)/python -m pytest -n 2 --dist loadfile --hypothesis-profile thorough -m "not s3"

test-cluster: $(READY)  ## runs on clusters of their own: TLS, adaptive scaling, killed workers
	$(BIN)/python -m pytest -m "cluster or yarn"

# CI leaves the slow ones out.
S3 ?= s3 and not faults
test-s3: $(READY)  ## runs on a real S3 server (Ceph RGW, tests/s3/install.sh); skipped, with the reason, without one
	$(BIN)/python -m pytest -m "$(S3)" tests/s3

test-faults: $(READY)  ## staged failures: killed workers, schedulers and clients, memory, disk, S3 behind a bad link
	$(BIN)/python -m pytest -m faults

lint: $(INSTALLED)  ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)  ## static types
	$(BIN)/mypy

format: $(INSTALLED)  ## rewrite the files in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## the site, into docs/_build/html; docs/schema.md and docs/config.md from the code
	$(BIN)/python -c "import lensflow.schema as s, lensflow.config as c, pathlib as p; \
	p.Path('docs/schema.md').write_text(s.markdown()); p.Path('docs/config.md').write_text(c.markdown())"
	@$(INSTALL) $(DOCS) || $(PIP) $(DOCS)
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "The site: docs/_build/html/index.html"

zoo: $(READY)  ## draw docs/figures/zoo.png: which diagnostic notices which known fault
	$(BIN)/lensflow zoo --out docs/figures && rm docs/figures/zoo.json

bench: $(READY)  ## what the performance claims rest on
	$(BIN)/python benchmarks/demo.py
	$(BIN)/python benchmarks/render.py
	$(BIN)/python benchmarks/inject.py
	$(BIN)/python benchmarks/lazy.py
	$(BIN)/python benchmarks/gates.py
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/scale.py --regions 10000 --rows 20000
	$(BIN)/python benchmarks/simulate.py

lock: $(INSTALLED)  ## resolve both locks anew (torch's sympy needs mpmath < 1.4)
	$(PIP) uv
	printf 'mpmath<1.4\n' | $(BIN)/uv pip compile - pyproject.toml --extra dev --python-version 3.11 --universal --no-header -q --upgrade -o requirements.lock
	grep -v '^ *#' requirements.lock > $(VENV)/pinned.txt
	printf 'safetensors\nsympy>=1.13.3\n' | $(BIN)/uv pip compile - pyproject.toml --extra export -c $(VENV)/pinned.txt --python-version 3.11 --universal --no-header --no-annotate -q --upgrade -o requirements-train.lock

clean:  ## remove what make made, but not the runs
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
