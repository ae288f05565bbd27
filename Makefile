# Everything a developer or a first visitor runs. `make` alone lists the commands.
# Needs only make and Python 3.10 or newer (PYTHON=python3.12 picks another one); the rest goes into .venv.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
PIP_ARGS ?=
PYTEST_ARGS ?=
VALIDATE_ARGS ?=
BENCH_ARGS ?=
SERIES ?= out/series
SOAK_ARGS ?=
NEW ?=
WORKERS ?= 2
VENV := .venv
PY := $(VENV)/bin/python
RECIPES = PYTHONPATH=SpinalCordSegTrainer $(PY) -m Recipes
TABLE1 := SpinalCordSegTrainer/Recipes/table1.json
# Compiled when it is imported: all of it ahead takes 45 s of processor time.
INSTALL = $(PY) -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt $(PIP_ARGS)

# One thread per process: two test workers with a pool of threads each only get into each other's way.
test pytest coverage: export OMP_NUM_THREADS ?= 1
# Packages are compiled once, not by each of some fifty processes anew, where the user's shell asks for no bytecode.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help
help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(PY):
	@echo "== environment: $(VENV)"
	@command -v "$(PYTHON)" >/dev/null || { \
	    echo "No '$(PYTHON)' here. Install Python 3.10 or newer, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "$$("$(PYTHON)" --version 2>&1) is too old, 3.10 or newer is needed: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "'$(PYTHON)' lacks its venv package; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV)

# A stamp per set of packages: installed again only when what is asked for has changed.
$(VENV)/.installed: pyproject.toml constraints.txt | $(PY)
	@echo "== install: the package and what it needs "
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(PY)
	@echo "== install: the package, the trainer's extras, the developers' tools (some minutes the first time)"
	@$(INSTALL) --editable '.[dev]'
	@touch $(VENV)/.installed $@

.PHONY: demo
demo: $(VENV)/.installed ## Segment and measure a simulated neck; results in out/demo
	@$(PY) -m SpinalCordSegLib demo --output out/demo
	@echo "Results are in out/demo/phantom: report.html is the page to open, montage.png the overview"

.PHONY: validate
validate: $(VENV)/.installed-dev ## Measure the bundled model on the public data (VALIDATE_ARGS="--quick"); out/validate
	@$(RECIPES) validate --data "$${SPINALCORDSEG_DATA:-../shared/data}" --output out/validate \
	    $(VALIDATE_ARGS)

.PHONY: validate-series
validate-series: $(VENV)/.installed-dev ## Simulated persons of known atrophy through the bundled model; out/series
	@$(RECIPES) validate-series --data "$${SPINALCORDSEG_DATA:-../shared/data}" \
	    --output $(SERIES) $(VALIDATE_ARGS)

.PHONY: results
results: ## Measure again what docs/results.md says (hours of one core); out/validate, out/series, out/bench, out/demo
	@$(MAKE) --no-print-directory validate validate-series bench demo

.PHONY: test
test: ## Everything that must hold: lint, types, tests
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory --jobs=2 types pytest # half a minute of one core beside the tests
	@echo "== all passed"

.PHONY: lint
lint: $(VENV)/.installed-dev ## Linter and formatting; changes nothing
	@echo "== lint: ruff"
	@$(PY) -m ruff check || { echo "== FAILED: lint (ruff check); 'make format' mends most of it" >&2; exit 1; }
	@$(PY) -m ruff format --check || { echo "== FAILED: lint (formatting); run 'make format'" >&2; exit 1; }

.PHONY: types
types: $(VENV)/.installed-dev ## Type checker on both libraries
	@echo "== types: mypy"
	@$(PY) -m mypy || { echo "== FAILED: types (mypy)" >&2; exit 1; }

.PHONY: pytest
pytest: $(VENV)/.installed-dev ## The tests alone (PYTEST_ARGS="Testing/library -k volume")
	@echo "== tests: pytest"
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS) || { echo "== FAILED: tests (pytest)" >&2; exit 1; }

.PHONY: coverage
coverage: $(VENV)/.installed-dev ## Which lines and branches the tests reach (twice as long as the tests)
	@$(PY) -m pytest -n $(WORKERS) --cov --cov-branch --cov-report=term:skip-covered $(PYTEST_ARGS)

.PHONY: docs
docs: $(VENV)/.installed-dev ## The documentation as a site; out/site
	@$(PY) tools/data_dictionary.py
	@$(PY) -m mkdocs build --quiet
	@echo "Open out/site/index.html"

.PHONY: graphs
graphs: $(VENV)/.installed-dev ## Export the networks for ONNX Runtime, after one was changed
	@$(PY) tools/export_graphs.py

.PHONY: model
model: $(VENV)/.installed-dev ## Train the model that ships anew, from public data (hours); result in runs/cervical_t1w
	@$(MAKE) --no-print-directory -f SpinalCordSegTrainer/Recipes/cervical_t1w.mk PY=$(PY)

.PHONY: table1
table1: $(VENV)/.installed-dev ## Train the paper's Table 1 scaled down (hours, goes on where it stopped); runs/table1
	@cd runs/table1/simulated 2>/dev/null || $(RECIPES) simulate --maps "$${SPINALCORDSEG_DATA:-../shared/data}" \
	    --count 1500 --seed 301 --set kind=paper --set intensity=minmax --output runs/table1/simulated
	@$(RECIPES) cache "$${SPINALCORDSEG_DATA:-../shared/data}/t2_masked" --config $(TABLE1) --output runs/table1/t2w
	@$(RECIPES) cache "$${SPINALCORDSEG_DATA:-../shared/data}/t2star_masked" --config $(TABLE1) --output runs/table1/t2starw
	@$(RECIPES) table1 --scaled --config $(TABLE1) --output runs/table1

.PHONY: bench
bench: $(VENV)/.installed-dev ## Time everything on this machine (BENCH_ARGS="--only whole --quick"); out/bench
	@$(PY) tools/bench/run.py --data "$${SPINALCORDSEG_DATA:-../shared/data}" $(BENCH_ARGS)

# The peers live outside .venv: they bring a hundred packages along. torch is the same version under the same constraints.
.PHONY: bench-peers
bench-peers: ## Install nnU-Net and MONAI in .venv-peers, for the peers' part of `make bench`
	@"$(PYTHON)" -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS) nnunetv2 monai

.PHONY: soak
soak: $(VENV)/.installed-dev ## Bad inputs, kills, full disks (SOAK_ARGS="--seed 7 --minutes 10 --only kills"); out/soak
	@PYTHONPATH=SpinalCordSegTrainer OMP_NUM_THREADS=1 $(PY) tools/soak/soak.py $(SOAK_ARGS)
	@SPINALCORDSEG_KILLS=20 OMP_NUM_THREADS=1 $(PY) -m pytest --timeout 1200 -s Testing/trainer/test_trainer.py -k killed

.PHONY: test-slicer-5.12
test-slicer-5.12: ## The tests of the Slicer side on the oldest supported core, in an environment of its own
	@test -d .venv-5.12 || "$(PYTHON)" -m venv .venv-5.12
	@.venv-5.12/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS) \
	    --editable '.[panel-test]' slicer-core==5.12.4.0
	@OMP_NUM_THREADS=1 .venv-5.12/bin/python -m pytest -n $(WORKERS) Testing/slicer $(PYTEST_ARGS)

.PHONY: format
format: $(VENV)/.installed-dev ## Format the code and mend what the linter can
	@$(PY) -m ruff format
	@$(PY) -m ruff check --fix

.PHONY: icons
icons: $(VENV)/.installed ## Draw the icons again
	@$(PY) tools/draw_icons.py

.PHONY: translations
translations: $(VENV)/.installed ## Bring translations up to date with the panels, or begin one (NEW=fr)
	@$(PY) tools/translations.py $(NEW)

.PHONY: screenshots
screenshots: $(VENV)/.installed-dev ## Take the pictures of both panels again
	@PYTHONPATH=Testing/slicer $(PY) tools/screenshots.py

.PHONY: clean
clean: ## Remove caches and results; .venv stays
	@rm -rf out build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
