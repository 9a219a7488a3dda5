VENV := .venv
PYTHON := $(VENV)/bin/python
export OMP_WAIT_POLICY := PASSIVE

.PHONY: test install

# Lint, types and tests, from nothing.
test: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -q

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt requirements-dev.txt constraints.txt
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install -q --upgrade pip
	$(PYTHON) -m pip install -q -c constraints.txt torch torchvision
	$(PYTHON) -m pip install -q -c constraints.txt -r requirements-dev.txt
	touch $@
