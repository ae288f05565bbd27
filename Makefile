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
WORKERS ?= 2
VENV := .venv
STARTER := SpinalCordSegTrainer/Recipes/starter.json
OUTLINE := SpinalCordSegTrainer/Recipes/starter_outline.json
IN_PLACE := SpinalCordSegTrainer/Recipes/starter_in_place.json
SURROUNDINGS := SpinalCordSegTrainer/Recipes/starter_surroundings.json
PY := $(VENV)/bin/python
INSTALL = $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS)

# One thread per process: two test workers with a pool of threads each only get into each other's way.
test pytest coverage: export OMP_NUM_THREADS ?= 1

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
	@echo "== install: the package and what it needs (PyTorch is large: some minutes the first time)"
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(PY)
	@echo "== install: the package, the trainer's extras, the developers' tools (some minutes the first time)"
	@$(INSTALL) --editable '.[dev]'
	@touch $(VENV)/.installed $@

.PHONY: demo
demo: $(VENV)/.installed ## Segment and measure a simulated neck; results in out/demo
	@$(PY) -m SpinalCordSegLib.cli demo --output out/demo
	@echo "Results are in out/demo/phantom: report.html is the page to open, montage.png the overview"

.PHONY: validate
validate: $(VENV)/.installed-dev ## Measure the bundled model on the public data (VALIDATE_ARGS="--quick"); out/validate
	@$(PY) -m SpinalCordSegTrainerLib validate --data "$${SPINALCORDSEG_DATA:-../shared/data}" --output out/validate \
	    $(VALIDATE_ARGS)

.PHONY: validate-series
validate-series: $(VENV)/.installed-dev ## Simulated persons of known atrophy through the bundled model; out/series
	@$(PY) -m SpinalCordSegTrainerLib validate-series --data "$${SPINALCORDSEG_DATA:-../shared/data}" \
	    --output $(SERIES) $(VALIDATE_ARGS)

.PHONY: results
results: $(VENV)/.installed-dev ## Measure what RESULTS.md holds anew and put it there (hours, on an idle machine)
	@$(MAKE) --no-print-directory validate
	@$(MAKE) --no-print-directory validate-series
	@$(MAKE) --no-print-directory validate-series SERIES=out/series-same-scanner VALIDATE_ARGS=--same-scanner
	@$(MAKE) --no-print-directory bench
	@$(MAKE) --no-print-directory results-page

.PHONY: results-page
results-page: $(VENV)/.installed-dev ## Put the tables that were measured last (below out/) into RESULTS.md
	@$(PY) tools/results/renew.py

.PHONY: test
test: ## Everything that must hold: lint, types, tests
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory pytest
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
	@$(PY) -m pytest -n $(WORKERS) $(PYTEST_ARGS) || { echo "== FAILED: tests (pytest)" >&2; exit 1; }

.PHONY: coverage
coverage: $(VENV)/.installed-dev ## Which lines and branches the tests reach; out/coverage (twice as long as the tests)
	@mkdir -p out/coverage
	@failed=0; $(PY) -m pytest -n $(WORKERS) --cov --cov-branch --cov-report=json --timeout 1200 $(PYTEST_ARGS) || \
	    failed=$$?; $(PY) tools/results/coverage_table.py out/coverage/coverage.json && exit $$failed

# The shapes trained on; the other four (VALIDATION_SHAPES in simulate.py) are what the model is judged and calibrated on.
TRAINED_SHAPES := PAM50 errsm_11 errsm_18 errsm_21 errsm_23 errsm_24 sub-cardiff03 sub-juntendo750w01 sub-mpicbs06 \
    sub-oxfordFmrib07 sub-oxfordFmrib11
DATA = $${SPINALCORDSEG_DATA:-../shared/data}
TRAIN = OMP_NUM_THREADS=1 $(PY) -m SpinalCordSegTrainerLib
SIMULATE = $(TRAIN) simulate --maps "$(DATA)"
STAGE = $(TRAIN) train --threads 1 $(STARTER_ARGS) --output runs/starter

# Thirteen stages, each from the weights of the one before. First whole surroundings (run), small crops about the cord
# (boundary), wider ones at a falling rate (wide): all kinds of protocol, however poor. Then the same small crops on
# sharper slices (sharp: the augmentation blurs and spoils less), and on slices of T1w protocols in which the outline
# can be seen (outline): a network that is shown outlines nobody can see learns to draw all of them near the mean;
# then the same once more from a high rate, for the curve was still rising (longer), and wider crops at a falling rate, so
# that nothing far from the cord is taken for it (final). Then slices in place: no rotation, scale or bend, for each
# resampling blurs the edge that is to be learned; protocols chosen by their contrast to noise; the mean of two runs
# (in_place), of two runs more, of small and of wider crops (near, wider), and of two of whole surroundings with more slices
# above the cord and cords thinner and thicker than any (whole); then both once more (near_again, whole_again), the mean
# of the two, and small crops a last time, with new people of whom half have masses that touch the cord (touched). Mixed
# precision needs a CPU with bfloat16 units: STARTER_ARGS="--set precision=float32".
STARTER_ARGS ?=
SMALL := --set crop.size=64 --set crop.near_cord=0.9 --set crop.jitter_px=14 --set batch_size=64 --set updates_per_epoch=100 \
    --set ema_decay=0.995 --set standard.scale=0.3 --set contrast.scale=0.3
WIDER := --set crop.size=96 --set crop.near_cord=0.6 --set crop.jitter_px=28 --set batch_size=28 --set updates_per_epoch=100 \
    --set ema_decay=0.995 --set standard.scale=0.3 --set contrast.scale=0.3
LESS_SPOILT := $(foreach policy,standard contrast,$(foreach change,noise=0.015 blur_px=0.4 resolution_probability=0.03 \
    motion_probability=0.03 elastic_px=1.5 interpolation=bicubic,--set $(policy).$(change)))
BOUNDARY := $(SMALL) --set epochs=16 --set rate.max_lr=0.0012 --set rate.base_lr=0.0001 --set rate.warmup_updates=50
WIDE := $(WIDER) --set epochs=15 --set rate.max_lr=0.0007 --set rate.base_lr=0.00001 --set rate.warmup_updates=30
SHARP := $(SMALL) $(LESS_SPOILT) --set crop.near_cord=0.92 --set crop.jitter_px=12 --set epochs=7 --set rate.max_lr=0.001 \
    --set rate.base_lr=0.00002 --set rate.warmup_updates=30
LONGER := --set epochs=45 --set rate.max_lr=0.0012 --set rate.base_lr=0.00005
FINAL := $(WIDER) --set epochs=12 --set rate.max_lr=0.0006 --set rate.base_lr=0.00001 --set rate.warmup_updates=30
ONWARD := --set epochs=14 --set rate.max_lr=0.0009
TOUCHED := --set epochs=18 --set rate.max_lr=0.0008 --set rate.base_lr=0.0001
AGAIN := --set epochs=22 --set rate.max_lr=0.0009 --set rate.base_lr=0.0001
WIDER_IN_PLACE := --set epochs=14 --set rate.max_lr=0.0007 --set crop.size=96 --set crop.near_cord=0.65 --set crop.jitter_px=28 \
    --set batch_size=32
SEEN := --set families=[0.42,0.34,0.10,0.06,0.08] --set least_contrast=0.15 --set heavy_noise=0.08
# RIM_MM of the simulator: masks of T2w images are brought to the line that is drawn on T1w.
INSET := --only-labelled --inset-mm 0.3
TOLD_APART := --set families=[0.36,0.34,0.16,0.05,0.09] --set least_contrast=0.06 --set least_cnr=5 --set heavy_noise=0.1 \
    --set touching=0.3
UNCHOSEN := --set families=[0.5,0.33,0.17,0,0] --set heavy_noise=0.1 --set touching=0.2
FAINT := --set most_cnr=6 --set families=[0.05,0.2,0.75,0,0] --set heavy_noise=0.6
FAINT_TOUCHED := --set most_cnr=8 --set families=[0.15,0.25,0.6,0,0] --set heavy_noise=0.4 --set touching=0.3

# Two runs and their mean, which is runs/starter/NAME.safetensors: NAME, configuration, weights to begin with, further
# settings of the first and of the second run.
define two_runs
@$(STAGE)/$(1)_a --config $(2) --from runs/starter/$(3).safetensors $(4)
	@$(STAGE)/$(1)_b --config $(2) --from runs/starter/$(3).safetensors $(5)
	@$(TRAIN) average runs/starter/$(1)_a/last.safetensors runs/starter/$(1)_b/last.safetensors \
	    --output runs/starter/$(1).safetensors
endef

.PHONY: starter
starter: $(VENV)/.installed-dev ## Train the model that ships anew, from public data (hours); result in runs/starter
	@$(SIMULATE) --count 3600 --phantoms 80 --seed 41 --output runs/starter/simulated_a
	@$(SIMULATE) --count 3600 --seed 42 --output runs/starter/simulated_b
	@$(SIMULATE) --count 4200 --seed 51 $(SEEN) --output runs/starter/sharp_a
	@$(SIMULATE) --count 2700 --seed 52 --phantoms 60 $(SEEN) --output runs/starter/sharp_b
	@$(SIMULATE) --count 2700 --seed 53 $(SEEN) --output runs/starter/sharp_c
	@$(SIMULATE) --count 6600 --seed 71 $(TOLD_APART) --set no_cord=0.22 --output runs/starter/rim_a
	@$(SIMULATE) --count 6000 --seed 72 --phantoms 120 $(TOLD_APART) --set no_cord=0.22 --output runs/starter/rim_b
	@$(SIMULATE) --count 3000 --seed 73 --phantoms 60 $(TOLD_APART) --set no_cord=0.35 --output runs/starter/rim_c
	@$(SIMULATE) --count 3600 --seed 74 $(TOLD_APART) --set no_cord=0.1 --set beyond_csa=0.6 --output runs/starter/rim_d
	@$(SIMULATE) --count 2400 --seed 75 $(UNCHOSEN) --set no_cord=0.05 --set beyond_csa=0.2 --output runs/starter/rim_e
	@$(SIMULATE) --count 3600 --seed 76 $(TOLD_APART) --set touching=0.15 --set no_cord=0.15 --set beyond_csa=0.4 \
	    --output runs/starter/rim_f
	@$(SIMULATE) --count 3000 --seed 77 $(FAINT) --set no_cord=0.1 --output runs/starter/rim_faint
	@$(SIMULATE) --count 3600 --seed 78 $(UNCHOSEN) --set touching=0.5 --set no_cord=0.05 --set beyond_csa=0.3 \
	    --output runs/starter/rim_g
	@$(SIMULATE) --count 3000 --seed 79 $(FAINT_TOUCHED) --set no_cord=0.05 --output runs/starter/rim_h
	@$(SIMULATE) --count 400 --seed 991 --output runs/starter/held_out $(addprefix --hold-out ,$(TRAINED_SHAPES))
	@$(TRAIN) cache "$(DATA)/t2_masked" $(INSET) --output runs/starter/t2w --config $(STARTER)
	@$(TRAIN) cache "$(DATA)/t2star_masked" $(INSET) --output runs/starter/t2starw --config $(STARTER)
	@$(STAGE)/run --config $(STARTER)
	@$(STAGE)/boundary --config $(STARTER) --from runs/starter/run/last.safetensors $(BOUNDARY)
	@$(STAGE)/wide --config $(STARTER) --from runs/starter/boundary/last.safetensors $(WIDE)
	@$(STAGE)/sharp --config $(STARTER) --from runs/starter/wide/last.safetensors $(SHARP)
	@$(STAGE)/outline --config $(OUTLINE) --from runs/starter/sharp/last.safetensors
	@$(STAGE)/longer --config $(OUTLINE) --from runs/starter/outline/last.safetensors $(LONGER)
	@$(STAGE)/final --config $(OUTLINE) --from runs/starter/longer/last.safetensors $(FINAL)
	$(call two_runs,in_place,$(IN_PLACE),final/last,,--set seed=1)
	@$(STAGE)/near --config $(IN_PLACE) --from runs/starter/in_place.safetensors --set seed=3 $(ONWARD)
	@$(STAGE)/wider --config $(IN_PLACE) --from runs/starter/in_place.safetensors --set seed=2 $(WIDER_IN_PLACE)
	@$(TRAIN) average runs/starter/near/last.safetensors runs/starter/wider/last.safetensors \
	    --output runs/starter/mean.safetensors
	$(call two_runs,whole,$(SURROUNDINGS),mean,--set seed=5,--set seed=6)
	$(call two_runs,near_again,$(IN_PLACE),whole,--set seed=21 $(AGAIN),--set seed=22 $(AGAIN))
	$(call two_runs,whole_again,$(SURROUNDINGS),near_again,--set seed=23,--set seed=24)
	@$(TRAIN) average runs/starter/near_again.safetensors runs/starter/whole_again.safetensors \
	    --output runs/starter/both_again.safetensors
	$(call two_runs,touched,$(IN_PLACE),both_again,--set seed=31 $(TOUCHED),--set seed=32 $(TOUCHED))
	@$(TRAIN) calibrate runs/starter/touched.safetensors --cache runs/starter/held_out --output runs/starter/starter.safetensors

.PHONY: bench
bench: $(VENV)/.installed-dev ## Time everything on this machine (BENCH_ARGS="--only whole --quick"); out/bench
	@$(PY) tools/bench/run.py --data "$(DATA)" $(BENCH_ARGS)

# The peers live outside .venv: they bring a hundred packages along. torch is the same version under the same constraints.
.PHONY: bench-peers
bench-peers: ## Install nnU-Net and MONAI in .venv-peers, for the peers' part of `make bench`
	@"$(PYTHON)" -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS) nnunetv2 monai

.PHONY: soak
soak: $(VENV)/.installed-dev ## Bad inputs, kills, full disks (SOAK_ARGS="--seed 7 --minutes 10 --only kills"); out/soak
	@OMP_NUM_THREADS=1 $(PY) tools/soak/soak.py $(SOAK_ARGS)
	@SPINALCORDSEG_KILLS=20 OMP_NUM_THREADS=1 $(PY) -m pytest --timeout 1200 -s Testing/trainer/test_killed_runs.py

# A row per file in Testing/slicer/matrix: a version of Slicer's core and the packages beside it, each in an environment
# of its own. constraints.txt holds PyTorch to the version that pip has in its cache already.
MATRIX ?= $(basename $(notdir $(sort $(wildcard Testing/slicer/matrix/*.txt))))
MATRIX_TESTS ?= Testing/slicer Testing/library

.PHONY: test-matrix
test-matrix: $(MATRIX:%=test-matrix-%) ## MRML, panel and library tests on several versions of Slicer's core and of numpy
	@echo "== all passed: $(MATRIX)"

.PHONY: $(MATRIX:%=test-matrix-%)
$(MATRIX:%=test-matrix-%): test-matrix-%: .venv-%/.installed
	@echo "== tests: $*"
	@OMP_NUM_THREADS=1 .venv-$*/bin/python -m pytest -n $(WORKERS) $(MATRIX_TESTS) $(PYTEST_ARGS) || { \
	    echo "== FAILED: tests on $*" >&2; exit 1; }

.venv-%/.installed: Testing/slicer/matrix/%.txt pyproject.toml constraints.txt
	@echo "== environment: .venv-$*"
	@"$(PYTHON)" -m venv .venv-$*
	@.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS) \
	    --editable '.[train,panel-test]' -r $<
	@touch $@

# Resolved, not installed: nothing but the packages' descriptions is fetched. The newest of every range under
# constraints.txt, the oldest of every range, and the environments of `make test-matrix`.
RANGES_PYTHON ?= 3.10 3.11 3.12 3.13
RANGES_EXTRAS := --extra train --extra dicom --extra cluster --extra onnx
RESOLVE = .venv-ranges/bin/uv pip compile --quiet --only-binary :all: --no-header --output-file /dev/null pyproject.toml

.PHONY: test-ranges
test-ranges: ## Do the ranges in pyproject.toml resolve, on every Python and system? (needs the network)
	@test -x .venv-ranges/bin/uv || { "$(PYTHON)" -m venv .venv-ranges && \
	    .venv-ranges/bin/python -m pip install --quiet --disable-pip-version-check uv; }
	@set -e; for python in $(RANGES_PYTHON); do for system in linux windows macos; do \
	    echo "== Python $$python on $$system"; to="--python-version $$python --python-platform $$system"; \
	    $(RESOLVE) $$to $(RANGES_EXTRAS) -c constraints.txt; \
	    $(RESOLVE) $$to $(RANGES_EXTRAS) --resolution lowest-direct; \
	    done; $(RESOLVE) --python-version $$python --python-platform linux --extra dev -c constraints.txt; done
	@set -e; for row in Testing/slicer/matrix/*.txt; do echo "== $$row"; \
	    $(RESOLVE) $$row --extra train --extra panel-test -c constraints.txt; done
	@echo "== all ranges resolve"

.PHONY: format
format: $(VENV)/.installed-dev ## Format the code and mend what the linter can
	@$(PY) -m ruff format
	@$(PY) -m ruff check --fix

.PHONY: icons
icons: $(VENV)/.installed ## Draw the icons again
	@$(PY) tools/draw_icons.py

.PHONY: screenshots
screenshots: $(VENV)/.installed-dev ## Take the pictures of both panels again
	@PYTHONPATH=Testing/slicer $(PY) tools/screenshots.py

.PHONY: clean
clean: ## Remove caches and results; .venv stays
	@rm -rf out build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
