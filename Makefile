# Everything runs in .venv, made from pyproject.toml; only Python >= 3.11, pip and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# torch and torchvision are installed first, as a pair that fits; the library itself pins neither.
ifeq ($(shell uname -s)-$(shell uname -m),Linux-x86_64)
TORCH ?= torch==2.14.1 torchvision==0.29.1
else ifeq ($(shell uname -s)-$(shell uname -m),Linux-aarch64)
TORCH ?= torch==2.9.1 torchvision==0.24.1
else
TORCH ?= torch torchvision
endif

OUT ?= runs/demo

.PHONY: demo test lint docs bench examples figures clean

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(VENV)/installed  ## pretrain on the embedded photographs, judge, write the page
	@if [ -e $(OUT) ]; then echo "$(OUT) exists: make demo OUT=runs/another"; exit 1; fi
	$(BIN)/coview pretrain sample --minutes 1.2 --out $(OUT)
	@echo "open $(OUT)/index.html"

test: $(VENV)/installed  ## all tests but those that need an accelerator
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --maxprocesses 4 --durations 15 -m 'not slow and not device'
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile --durations 15 -o addopts=--strict-markers -m 'slow and not device'  # as users run it: types unchecked

lint: $(VENV)/installed  ## format, lint, types
	$(BIN)/ruff format --check src tests benchmarks scripts docs
	$(BIN)/ruff check src tests benchmarks scripts docs
	$(BIN)/mypy

examples: $(VENV)/installed  ## the commands and the code that the README shows
	$(BIN)/python scripts/run_examples.py README.md

$(VENV)/docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

docs: $(VENV)/docs  ## the site, docs/_build/html; EXTERNAL=1 also asks other sites for their pages
	$(BIN)/sphinx-build -q -W --keep-going docs docs/_build/html
	$(BIN)/python scripts/check_links.py docs/_build/html
	@test -z "$(EXTERNAL)" || $(BIN)/sphinx-build -q -b linkcheck docs docs/_build/links

bench: $(VENV)/installed  ## the benchmarks, some hours on 2 cores
	@test -n "$(CIFAR10)" || { echo "make bench CIFAR10=FILE.npz (x_train, y_train, x_test, y_test)"; exit 1; }
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python benchmarks/objectives.py
	$(BIN)/python benchmarks/views.py
	$(BIN)/python benchmarks/sample_folds.py
	$(BIN)/python benchmarks/cifar10.py $(CIFAR10)
	$(BIN)/python benchmarks/encoders.py $(CIFAR10)
	$(BIN)/python benchmarks/audit.py $(CIFAR10)
	$(BIN)/python benchmarks/audit.py
	$(BIN)/python benchmarks/tune.py scenes
	$(BIN)/python benchmarks/tune.py $(CIFAR10)
	$(BIN)/python benchmarks/learned_views.py $(CIFAR10)
	$(BIN)/python benchmarks/information.py
	test -z "$(BMI)" || $(BIN)/python benchmarks/information_peer.py --python $(BMI)
	$(BIN)/python benchmarks/diagnosis.py

figures: $(VENV)/installed  ## the README's pictures, from the records of a run and of a study
	$(BIN)/python -c "from coview.pages import write_study_figure; write_study_figure('docs/studies/records/minc-batch-size.json', 'docs/pictures/minc.png')"
	$(BIN)/python -c "from pathlib import Path; from coview.pages import write_figures; write_figures(Path('$(OUT)'), Path('docs/pictures'))"

clean:
	rm -rf $(VENV) build dist src/*.egg-info
