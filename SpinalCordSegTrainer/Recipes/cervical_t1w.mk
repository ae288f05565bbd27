# How the model that ships was made, from public data: `make model`, or from the repository's root
# `make -f SpinalCordSegTrainer/Recipes/cervical_t1w.mk PY=python`. Hours on two cores; the result lies in runs/cervical_t1w,
# with the SHA-256 of each stage (SHA256SUMS). Stopped or killed, the same line goes on.

SHELL := /bin/bash
PY ?= python
WHOLE := SpinalCordSegTrainer/Recipes/cervical_t1w.json
OUTLINE := SpinalCordSegTrainer/Recipes/cervical_t1w_outline.json
IN_PLACE := SpinalCordSegTrainer/Recipes/cervical_t1w_in_place.json
SURROUNDINGS := SpinalCordSegTrainer/Recipes/cervical_t1w_surroundings.json

# The shapes trained on; the other four (VALIDATION_SHAPES in simulation/training_slices.py) are what the model is judged and calibrated on.
TRAINED_SHAPES := PAM50 errsm_11 errsm_18 errsm_21 errsm_23 errsm_24 sub-cardiff03 sub-juntendo750w01 sub-mpicbs06 \
    sub-oxfordFmrib07 sub-oxfordFmrib11
DATA = $${SPINALCORDSEG_DATA:-../shared/data}
ONCE = SpinalCordSegTrainer/Recipes/stage.sh env OMP_NUM_THREADS=1
RECIPES = $(ONCE) PYTHONPATH=SpinalCordSegTrainer $(PY) -m Recipes
TRAIN = $(ONCE) $(PY) -m SpinalCordSegTrainerLib
SIMULATE = $(RECIPES) simulate --maps "$(DATA)"
STAGE = $(TRAIN) train $(TRAIN_ARGS) --output runs/cervical_t1w

# README.md beside this file says what each stage is for.
TRAIN_ARGS ?=
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
OFFSET := --only-labelled --boundary-offset-mm 0.3
DISTINCT := --set families=[0.36,0.34,0.16,0.05,0.09] --set least_contrast=0.06 --set least_cnr=5 --set heavy_noise=0.1 \
    --set touching=0.3
ANY_PROTOCOL := --set families=[0.5,0.33,0.17,0,0] --set heavy_noise=0.1 --set touching=0.2
FAINT := --set most_cnr=6 --set families=[0.05,0.2,0.75,0,0] --set heavy_noise=0.6
FAINT_TOUCHED := --set most_cnr=8 --set families=[0.15,0.25,0.6,0,0] --set heavy_noise=0.4 --set touching=0.3

SAME_ANSWER = $(RECIPES) same-answer $(foreach set,a b c,--simulated runs/cervical_t1w/alike_$(set)) \
    --masked runs/cervical_t1w/t2w --masked runs/cervical_t1w/t2starw --image "$(DATA)/dicom_t1w_head" \
    --held-out runs/cervical_t1w/held_out

# Two runs and their mean, which is runs/cervical_t1w/NAME.safetensors: NAME, configuration, weights to begin with, further
# settings of the first and of the second run.
define two_runs
@$(STAGE)/$(1)_a --config $(2) --from runs/cervical_t1w/$(3).safetensors $(4)
	@$(STAGE)/$(1)_b --config $(2) --from runs/cervical_t1w/$(3).safetensors $(5)
	@$(RECIPES) average runs/cervical_t1w/$(1)_a/last.safetensors runs/cervical_t1w/$(1)_b/last.safetensors \
	    --output runs/cervical_t1w/$(1).safetensors
endef

.PHONY: cervical_t1w
cervical_t1w: ## Train the model that ships anew, from public data (hours); result in runs/cervical_t1w
	@$(SIMULATE) --count 3600 --phantoms 80 --seed 41 --output runs/cervical_t1w/simulated_a
	@$(SIMULATE) --count 3600 --seed 42 --output runs/cervical_t1w/simulated_b
	@$(SIMULATE) --count 4200 --seed 51 $(SEEN) --output runs/cervical_t1w/sharp_a
	@$(SIMULATE) --count 2700 --seed 52 --phantoms 60 $(SEEN) --output runs/cervical_t1w/sharp_b
	@$(SIMULATE) --count 2700 --seed 53 $(SEEN) --output runs/cervical_t1w/sharp_c
	@$(SIMULATE) --count 6600 --seed 71 $(DISTINCT) --set no_cord=0.22 --output runs/cervical_t1w/rim_a
	@$(SIMULATE) --count 6000 --seed 72 --phantoms 120 $(DISTINCT) --set no_cord=0.22 --output runs/cervical_t1w/rim_b
	@$(SIMULATE) --count 3000 --seed 73 --phantoms 60 $(DISTINCT) --set no_cord=0.35 --output runs/cervical_t1w/rim_c
	@$(SIMULATE) --count 3600 --seed 74 $(DISTINCT) --set no_cord=0.1 --set beyond_csa=0.6 --output runs/cervical_t1w/rim_d
	@$(SIMULATE) --count 2400 --seed 75 $(ANY_PROTOCOL) --set no_cord=0.05 --set beyond_csa=0.2 --output runs/cervical_t1w/rim_e
	@$(SIMULATE) --count 3600 --seed 76 $(DISTINCT) --set touching=0.15 --set no_cord=0.15 --set beyond_csa=0.4 \
	    --output runs/cervical_t1w/rim_f
	@$(SIMULATE) --count 3000 --seed 77 $(FAINT) --set no_cord=0.1 --output runs/cervical_t1w/rim_faint
	@$(SIMULATE) --count 3600 --seed 78 $(ANY_PROTOCOL) --set touching=0.5 --set no_cord=0.05 --set beyond_csa=0.3 \
	    --output runs/cervical_t1w/rim_g
	@$(SIMULATE) --count 3000 --seed 79 $(FAINT_TOUCHED) --set no_cord=0.05 --output runs/cervical_t1w/rim_h
	@$(SIMULATE) --count 400 --seed 991 --output runs/cervical_t1w/held_out $(addprefix --hold-out ,$(TRAINED_SHAPES))
	@$(RECIPES) cache "$(DATA)/t2_masked" $(OFFSET) --output runs/cervical_t1w/t2w --config $(WHOLE)
	@$(RECIPES) cache "$(DATA)/t2star_masked" $(OFFSET) --output runs/cervical_t1w/t2starw --config $(WHOLE)
	@$(STAGE)/run --config $(WHOLE)
	@$(STAGE)/boundary --config $(WHOLE) --from runs/cervical_t1w/run/last.safetensors $(BOUNDARY)
	@$(STAGE)/wide --config $(WHOLE) --from runs/cervical_t1w/boundary/last.safetensors $(WIDE)
	@$(STAGE)/sharp --config $(WHOLE) --from runs/cervical_t1w/wide/last.safetensors $(SHARP)
	@$(STAGE)/outline --config $(OUTLINE) --from runs/cervical_t1w/sharp/last.safetensors
	@$(STAGE)/longer --config $(OUTLINE) --from runs/cervical_t1w/outline/last.safetensors $(LONGER)
	@$(STAGE)/final --config $(OUTLINE) --from runs/cervical_t1w/longer/last.safetensors $(FINAL)
	$(call two_runs,in_place,$(IN_PLACE),final/last,,--set seed=1)
	@$(STAGE)/near --config $(IN_PLACE) --from runs/cervical_t1w/in_place.safetensors --set seed=3 $(ONWARD)
	@$(STAGE)/wider --config $(IN_PLACE) --from runs/cervical_t1w/in_place.safetensors --set seed=2 $(WIDER_IN_PLACE)
	@$(RECIPES) average runs/cervical_t1w/near/last.safetensors runs/cervical_t1w/wider/last.safetensors \
	    --output runs/cervical_t1w/mean.safetensors
	$(call two_runs,whole,$(SURROUNDINGS),mean,--set seed=5,--set seed=6)
	$(call two_runs,near_again,$(IN_PLACE),whole,--set seed=21 $(AGAIN),--set seed=22 $(AGAIN))
	$(call two_runs,whole_again,$(SURROUNDINGS),near_again,--set seed=23,--set seed=24)
	@$(RECIPES) average runs/cervical_t1w/near_again.safetensors runs/cervical_t1w/whole_again.safetensors \
	    --output runs/cervical_t1w/both_again.safetensors
	$(call two_runs,touched,$(IN_PLACE),both_again,--set seed=31 $(TOUCHED),--set seed=32 $(TOUCHED))
	@$(RECIPES) calibrate runs/cervical_t1w/touched.safetensors --cache runs/cervical_t1w/held_out \
	    --output runs/cervical_t1w/calibrated.safetensors
	@$(SIMULATE) --count 1500 --seed 101 --set families=[0.5,0.33,0.17,0,0] --set no_cord=0.05 --set touching=0.4 \
	    --set beyond_csa=0.3 --output runs/cervical_t1w/alike_a
	@$(SIMULATE) --count 1500 --seed 102 --phantoms 60 $(DISTINCT) --output runs/cervical_t1w/alike_b
	@$(SIMULATE) --count 900 --seed 201 --set families=[0.4,0.35,0.25,0,0] --set least_contrast=0.1 --set heavy_noise=0.7 \
	    --set touching=0.2 --output runs/cervical_t1w/alike_c
	@$(SAME_ANSWER) runs/cervical_t1w/calibrated.safetensors --updates 2600 --seed 7 --output runs/cervical_t1w/alike.safetensors
	@$(SAME_ANSWER) runs/cervical_t1w/alike.safetensors --teacher runs/cervical_t1w/calibrated.safetensors --updates 2552 --seed 29 \
	    --bright-fluid-threshold 0.24 --output runs/cervical_t1w/alike_again.safetensors
	@$(RECIPES) average runs/cervical_t1w/alike.safetensors runs/cervical_t1w/alike_again.safetensors \
	    --output runs/cervical_t1w/alike_mean.safetensors
	@$(RECIPES) calibrate runs/cervical_t1w/alike_mean.safetensors --cache runs/cervical_t1w/held_out \
	    --output runs/cervical_t1w/alike_start.safetensors
	@$(SAME_ANSWER) runs/cervical_t1w/alike_start.safetensors --teacher runs/cervical_t1w/calibrated.safetensors --updates 2340 \
	    --seed 61 --bright-fluid-threshold 0.24 --output runs/cervical_t1w/alike_more.safetensors
	@$(RECIPES) average runs/cervical_t1w/alike_again.safetensors runs/cervical_t1w/alike_more.safetensors \
	    --output runs/cervical_t1w/alike_last.safetensors
	@$(RECIPES) calibrate runs/cervical_t1w/alike_last.safetensors --cache runs/cervical_t1w/held_out \
	    --output runs/cervical_t1w/cervical_t1w.safetensors
