PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PLUGINS := $(sort $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml)))
PROJECTS := pyproject.toml constraints.txt $(wildcard plugins/*/pyproject.toml) docs/example_plugin/pyproject.toml
INSTALL := $(BIN)/python -m pip install -q -c constraints.txt

.PHONY: demo install test slow lint clean

demo: $(VENV)/.core
	$(BIN)/inferkit demo lif

install: $(VENV)/.installed

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto --dist loadgroup

slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow --timeout 3000

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/mypy inferkit

# The core alone takes seconds; torch, JAX and TVB, which the plugins bring, take minutes.
$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed: $(PROJECTS)
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e ".[dev]" $(foreach p,$(PLUGINS),-e "./$(p)[test]") -e ./docs/example_plugin
	touch $@ $(VENV)/.core

clean:
	rm -rf $(VENV) runs
