# Two commands do everything, from a clean clone: `make demo` and `make test`; `make check` is the one before a commit.
# They work in .venv; the first installs only what running needs, the second everything, both in the versions of
# constraints.txt, so that what passes today passes on any later day. `make lock` writes that file anew.

PYTHON ?= python3
RUN = .venv/bin
# A file stays in one worker, for what its tests share, and files come in order: the long ones, of few tests, not last.
PARALLEL = -n auto --dist loadfile --no-loadscope-reorder --durations=15
NEWEST = .venv-newest-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
PIP = python -m pip install --quiet --disable-pip-version-check

# What must work with whatever pip finds on a user's machine: to read, detect, record, report. No PyTorch in it.
CORE = $(addprefix tests/,sources/test_video_source.py sinks/test_recording.py sources/test_opening_sources.py \
	sources/test_every_nth_picture.py sources/test_planes.py detector/test_engine.py app/test_assemble.py \
	app/test_command_line.py app/test_doctor.py app/test_python_api.py app/test_model_commands.py project/test_telemetry.py)

.PHONY: demo test test-newest check lint types docs coverage lock clean

demo: .venv/.installed-run
	$(RUN)/streamdet demo

test: .venv/.installed-everything
	$(RUN)/pytest $(PARALLEL)

# The core of the tests with the newest packages that pyproject.toml allows: make test-newest PYTHON=python3.13
test-newest: $(NEWEST)/bin/python
	$(NEWEST)/bin/$(PIP) --upgrade --upgrade-strategy eager --editable ".[cpu,test]"
	$(NEWEST)/bin/pytest $(PARALLEL) $(CORE)

check: lint types test

# A site that a browser reads from the disk: site/index.html
docs: .venv/.installed-everything
	$(RUN)/python -m sphinx -q -W --keep-going docs site

coverage: .venv/.installed-everything
	$(RUN)/pytest -n auto --dist loadfile --cov=pipeline --cov=export --cov-report=term:skip-covered

lint: .venv/.installed-everything
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: .venv/.installed-everything
	$(RUN)/mypy

# Newest versions for every Python and system at once, within pyproject.toml and the constraints that pip is set up with.
lock: .venv-lock/bin/uv
	.venv-lock/bin/uv pip compile --quiet --no-config --upgrade --universal --python-version 3.11 \
		--no-header --no-annotate --extra cpu --extra openvino --extra dev --output-file .venv-lock/constraints.txt \
		$$(.venv-lock/bin/python -m pip config list | sed -n "s/^.*\.constraint='\(.*\)'$$/--constraint \1/p") pyproject.toml
	{ echo '# Written by `make lock`, for every Python and system; do not edit.'; cat .venv-lock/constraints.txt; } \
		> constraints.txt

clean:
	rm -rf .venv .venv-newest-* .venv-lock build dist demo-output site docs/reference

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "streamdet needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V); try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $*

.venv-lock/bin/uv: .venv-lock/bin/python
	.venv-lock/bin/$(PIP) uv

# The build backend comes from constraints.txt as well, and not from pip's isolated environment, which knows none.
.venv/.installed-run: .venv/bin/python pyproject.toml constraints.txt
	$(RUN)/$(PIP) --constraint constraints.txt hatchling editables
	$(RUN)/$(PIP) --constraint constraints.txt --no-build-isolation --editable ".[cpu,openvino]"
	@touch $@

.venv/.installed-everything: .venv/bin/python pyproject.toml constraints.txt
	$(RUN)/$(PIP) --constraint constraints.txt hatchling editables
	$(RUN)/$(PIP) --constraint constraints.txt --no-build-isolation --editable ".[cpu,openvino,dev]"
	@touch $@ .venv/.installed-run
