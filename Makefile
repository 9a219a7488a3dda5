VENV := .venv
PYTHON := $(VENV)/bin/python

.PHONY: demo test install

EXAMPLE := assets/examples/gerald-g-dreambooth

# The verdict on three members and three holdouts of a shipped example, then the page.
demo: install
	$(PYTHON) -m cgidm authenticate $(wordlist 1,3,$(sort $(wildcard $(EXAMPLE)/member/*.jpg))) $(wordlist 1,3,$(sort $(wildcard $(EXAMPLE)/holdout/*.jpg))) \
		--base assets/mini --suspect $(EXAMPLE)/checkpoint --prompt 'sks style' --preset fast \
		--controls assets/controls/gerald-g-dreambooth --out demo-out
	$(PYTHON) app.py

# Lint, types and tests, from nothing.
test: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(PYTHON) -m pytest -q -n 2 --dist loadfile

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt requirements-dev.txt constraints.txt
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install -q --upgrade pip
	$(PYTHON) -m pip install -q -c constraints.txt torch torchvision
	$(PYTHON) -m pip install -q -c constraints.txt -r requirements-dev.txt
	touch $@
