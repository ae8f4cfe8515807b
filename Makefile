# Two commands for a fresh machine: `make demo` and `make test`. Everything goes into .venv; uv (from PyPI) does the installing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= demo-out
# Threads that wait give their core back: spinning costs up to eight times the time where other programs use the cores, too.
export OMP_WAIT_POLICY ?= PASSIVE
# TORCH=cpu draws PyTorch's build without CUDA (2.7 GB less) from PyTorch's own index.
TORCH ?=
# Bytecode is compiled now: where none may be written later, every command would compile torch again.
UV = $(BIN)/python -m uv pip install --quiet --compile-bytecode $(if $(TORCH),--torch-backend $(TORCH)) --python $(BIN)/python --constraint constraints.txt

.PHONY: demo tour test test-rest test-all lint docs bench clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, found " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(UV) --editable .
	@touch $@

# sinabs alone: it asks for drivers of its chips and an older nir, of which its layers use nothing.
$(VENV)/.installed-test: $(VENV)/.installed
	$(UV) --editable '.[test]'
	$(UV) --no-deps sinabs pbr
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(UV) --editable '.[test,dev]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(UV) --editable '.[docs]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(UV) --editable '.[bench]'
	@touch $@

# One page about the shipped networks on shipped samples of CIFAR-10, in a minute.
demo: $(VENV)/.installed
	$(BIN)/ahsar-eval demo --out $(OUT)/report.html
	@echo "Open $(OUT)/report.html. More: make tour."

# Everything that takes longer: tables and figures of the shipped samples, four networks, seven shifts, events, a paired comparison, every shift drawn, energy
# under shift and over thresholds.
tour: $(VENV)/.installed
	$(BIN)/ahsar-eval ood --id cifar10-mini --ood photo-patches --ood cifar10-mini:fog --out $(OUT) --figures $(OUT)/figures --figure-format png
	$(BIN)/ahsar-eval ood --id n-mnist-mini --ood digits-dvs --ood n-mnist-mini:event_drop --out $(OUT)/n-mnist --figures $(OUT)/n-mnist --figure-format png
	$(BIN)/ahsar-eval raster cifar10-jpeg-vgg13-ahsar --data cifar10-mini --layer 1 --out $(OUT)/figures/figure4.png
	$(BIN)/ahsar-eval ood digits-vgg13-baseline digits-vgg13-ahsar digits-resnet18-baseline digits-resnet18-ahsar \
	  --id digits --ood photo-patches --ood digits:gaussian_noise:5 --ood digits:impulse_noise:5 --ood digits:blur:5 \
	  --ood digits:contrast:5 --ood digits:rotation --ood digits:inversion:3 --out $(OUT)/tour --figures $(OUT)/tour --figure-format png
	$(BIN)/ahsar-eval compare digits-vgg13-baseline digits-vgg13-ahsar --id digits --ood photo-patches --ood digits:rotation --out $(OUT)/tour
	$(BIN)/ahsar-eval ood digits-dvs-vgg13-baseline digits-dvs-vgg13-ahsar \
	  --id digits-dvs --ood digits-dvs:event_drop:3 --ood digits-dvs:occlusion:3 --out $(OUT)/tour/events
	$(BIN)/ahsar-eval data show photo-patches:all --sample 150 --out $(OUT)/tour/shifts.png
	$(BIN)/ahsar-eval energy digits-vgg13-baseline digits-vgg13-ahsar digits-resnet18-baseline digits-resnet18-ahsar --out $(OUT)/tour
	$(BIN)/ahsar-eval energy digits-vgg13-baseline digits-vgg13-ahsar --shift contrast --scales 0.6:1.4:0.2 --explain neurobench:spikingjelly \
	  --out $(OUT)/tour/energy --figures $(OUT)/tour/energy --figure-format png
	$(BIN)/ahsar-eval raster --layer 1 --out $(OUT)/tour/figure4.png
	@echo "Tables and figures are in $(OUT)/tour."

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --dist loadfile

# The cases that `test` leaves out (tests/every.txt and their like).
test-rest: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --dist loadfile -m every

test-all: test test-rest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages of docs/ as a site, in site/. A link, an anchor or a page that leads nowhere ends the build.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.installed-bench
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) $(OUT) build dist site
