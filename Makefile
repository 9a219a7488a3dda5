VENV := .venv
PYTHON := $(VENV)/bin/python
# one thread for each process: two processes share two cores; modules are compiled once, not in every process
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE PYTHONDONTWRITEBYTECODE= $(PYTHON) -m pytest -q

.PHONY: demo test test-fast tests tests-fast lint types docs wheel install

# The verdict on a used and an unused picture of a shipped example, then the page.
demo: install
	$(VENV)/bin/cgidm example gerald-g-dreambooth --out demo-out
	$(VENV)/bin/cgidm page

# Every check and every test, as continuous integration runs them. The checks take one core, and not for long: side by
# side with the tests they cost half their time.
test: install
	$(MAKE) -j3 lint types tests

# The lane for every change: no browser, nothing slow, fewer random examples; how much of the library it runs.
test-fast: install
	$(MAKE) -j3 lint types tests-fast

tests: install
	$(PYTEST) -n 2 --durations=25

tests-fast: install
	$(PYTEST) -n 2 --cov --hypothesis-profile=fast -m "not slow and not browser and not soak"

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

types: install
	$(VENV)/bin/pyright

# The web site, in docs/_build/html; warnings are errors.
docs: install
	$(PYTHON) -m scripts.render_docs --check
	$(PYTHON) -m sphinx -W --keep-going -q docs docs/_build/html

wheel: install
	$(PYTHON) -m hatchling build -t wheel

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install -q --upgrade pip
	$(PYTHON) -m pip install -q -c constraints.txt torch torchvision
	$(PYTHON) -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@
