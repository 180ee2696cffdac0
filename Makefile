PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PLUGINS := $(sort $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml)))

.PHONY: demo test slow lint clean

demo: $(VENV)/.installed
	$(BIN)/inferkit demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest

slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow --timeout 3000

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/mypy inferkit

$(VENV)/.installed: pyproject.toml constraints.txt $(wildcard plugins/*/pyproject.toml) docs/example_plugin/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]" $(foreach p,$(PLUGINS),-e "./$(p)[test]") -e ./docs/example_plugin
	touch $@

clean:
	rm -rf $(VENV) runs
