# Needs python3 and make, nothing else. `make test` is what continuous integration runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SHARED ?= $(or $(PHOSPHENE_SHARED_DATA),../shared/data)

.PHONY: install lint layout unit readme wheel test demo demo-digits bench clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $(STAMP)

layout:   # a view of the tree under its import names, for mypy, import-linter and doctests
	rm -rf .layout && mkdir -p .layout/phosphene
	cd .layout/phosphene && for f in ../../phosphene/*; do ln -s $$f .; done \
	  && for d in data encoders priors pipelines checkpoints; do ln -s ../../$$d .; done

lint: install layout
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	cd .layout && ../$(BIN)/lint-imports --config ../pyproject.toml --no-cache

unit: install layout
	$(BIN)/python -m pytest -q -n 2 --durations=8
	$(BIN)/python -m pytest -q --doctest-modules .layout/phosphene

readme: install
	$(BIN)/python tests/run_readme.py README.md

wheel: install
	$(BIN)/python tests/smoke_wheel.py

test: lint unit readme wheel

demo: install   # a fresh scan of virtual subject 01, decoded by the model that comes along
	rm -rf demo-output
	$(BIN)/phosphene simulate fmri --subject 01 --scenes 8 --seed 7 --output demo-output/scan
	$(BIN)/reconstruct --subject 01 --input demo-output/scan --average stimulus \
	  --truth demo-output/scan/stimuli --output demo-output/pictures

demo-digits: install   # real fMRI of one person reading digits
	@test -f $(SHARED)/digits69/train.npz || { echo "demo-digits: $(SHARED)/digits69/train.npz is" \
	  "not there; set PHOSPHENE_SHARED_DATA, or follow the README with your own arrays"; exit 4; }
	$(BIN)/python examples/digits69.py --data $(SHARED)/digits69 --output demo-digits --seeds 1

bench: install
	for b in benchmarks/*.py; do $(BIN)/python $$b || exit 1; done

clean:
	rm -rf .layout build dist *.egg-info demo-output demo-digits
