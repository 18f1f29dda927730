# make demo | make test | make check | make bench: each makes .venv first where there is none.
PYTHON ?= python3
BIN := .venv/bin
PROCESSES ?= 2  # of the default test suite; each takes a core and about 2 GB
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-slow check format bench bench-methods bench-7b bench-plan clean

demo: .venv/.installed       ## four ways of tuning side by side on the practice set, then a report
	$(BIN)/semtune study studies/demo.yaml --out studies-out/demo

test: .venv/.installed-dev   ## the default test suite
	$(BIN)/python -m pytest -n $(PROCESSES) --dist worksteal

test-slow: .venv/.installed-dev   ## what the default suite leaves out: real weights, long runs
	$(BIN)/python -m pytest -m slow

check: .venv/.installed-dev  ## style, types, layers, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

format: .venv/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.installed-bench   ## against PEFT, TRL, transformers; half an hour to an hour; leave the machine alone meanwhile
	$(BIN)/python benchmarks/peers.py

bench-methods: .venv/.installed-bench   ## every other method against PEFT; 6 minutes a round with AVX512_BF16; leave the machine alone meanwhile
	$(BIN)/python benchmarks/methods.py

bench-7b: .venv/.installed   ## memory of one QLoRA step of the shape of a 7B model
	$(BIN)/python benchmarks/step_7b.py

bench-plan: .venv/.installed   ## the plan beside measured runs over a grid; about 40 minutes; leave the machine alone
	$(BIN)/python benchmarks/plan.py

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) torch setuptools
	$(PIP) --editable .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(PIP) --editable ".[dev]"
	touch $@

.venv/.installed-bench: .venv/.installed
	$(PIP) --editable ".[bench]"
	touch $@

clean:
	rm -rf .venv build dist src/*.egg-info
