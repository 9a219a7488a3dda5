VENV := .venv
PYTHON := $(VENV)/bin/python

.PHONY: demo test lint wheel install

# The verdict on a used and an unused picture of a shipped example, then the page.
demo: install
	$(VENV)/bin/cgidm example gerald-g-dreambooth --out demo-out
	$(VENV)/bin/cgidm page

# Everything that keeps the house: lint, format, types, arrows, tests.
test: lint
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(PYTHON) -m pytest -q -n 2 --dist loadfile

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/pyright

wheel: install
	$(PYTHON) -m hatchling build -t wheel

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install -q --upgrade pip
	$(PYTHON) -m pip install -q -c constraints.txt torch torchvision
	$(PYTHON) -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@
