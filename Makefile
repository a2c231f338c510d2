# Two commands do everything, from a clean clone: `make demo` and `make test`.
# Both work in .venv; the first installs only what running needs, the second everything.

PYTHON ?= python3
RUN = .venv/bin

.PHONY: demo test check lint types clean

demo: .venv/.installed-run
	$(RUN)/streamdet demo

test: .venv/.installed-everything
	$(RUN)/pytest -n auto --dist loadfile

check: lint types test

lint: .venv/.installed-everything
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: .venv/.installed-everything
	$(RUN)/mypy

clean:
	rm -rf .venv build dist demo-output

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "streamdet needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V); try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.installed-run: .venv/bin/python pyproject.toml
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable ".[cpu,openvino]"
	@touch $@

.venv/.installed-everything: .venv/bin/python pyproject.toml
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable ".[cpu,openvino,dev]"
	@touch $@ .venv/.installed-run
