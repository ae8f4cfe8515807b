# Two commands for a fresh machine: `make demo` and `make test`. Everything goes into .venv; uv (from PyPI) does the installing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= demo-out
UV = $(BIN)/python -m uv pip install --quiet --python $(BIN)/python --constraint constraints.txt

.PHONY: demo test test-all lint bench clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, found " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(UV) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(UV) --editable '.[test]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(UV) --editable '.[test,dev]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(UV) --editable '.[bench]'
	@touch $@

# The main job on embedded data and shipped checkpoints: OOD tables and figures, a comparison, every shift, energy also under shift, Figure 4.
demo: $(VENV)/.installed
	$(BIN)/ahsar-eval ood digits-vgg13-baseline digits-vgg13-ahsar digits-resnet18-baseline digits-resnet18-ahsar \
	  --id digits --ood photo-patches --ood digits:gaussian_noise:5 --ood digits:impulse_noise:5 --ood digits:blur:5 \
	  --ood digits:contrast:5 --ood digits:rotation --ood digits:inversion:3 --out $(OUT) --figures $(OUT)/figures --figure-format png
	$(BIN)/ahsar-eval compare digits-vgg13-baseline digits-vgg13-ahsar --id digits --ood photo-patches --ood digits:rotation --out $(OUT)
	$(BIN)/ahsar-eval ood digits-dvs-vgg13-baseline digits-dvs-vgg13-ahsar \
	  --id digits-dvs --ood digits-dvs:event_drop:3 --ood digits-dvs:occlusion:3 --out $(OUT)/events
	$(BIN)/ahsar-eval data show photo-patches:all --sample 150 --out $(OUT)/shifts.png
	$(BIN)/ahsar-eval energy digits-vgg13-baseline digits-vgg13-ahsar digits-resnet18-baseline digits-resnet18-ahsar --out $(OUT)
	$(BIN)/ahsar-eval energy digits-vgg13-baseline digits-vgg13-ahsar --shift contrast --scales 0.6:1.4:0.2 --explain neurobench:spikingjelly \
	  --out $(OUT)/energy --figures $(OUT)/energy --figure-format png
	$(BIN)/ahsar-eval raster --layer 1 --out $(OUT)/figure4.png
	@echo "tables and figure are in $(OUT)/"

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --dist loadfile

# Every case, also those that `test` leaves out.
test-all: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --dist loadfile -m ""

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-bench
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) $(OUT) build dist
