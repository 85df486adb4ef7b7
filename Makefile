# make repro      environment, install, the whole pipeline, from params.yaml to reports/report.html
# make test       environment, install, all tests
# make proof      five seeds of the whole pipeline, 100 laps each: the README's table
# make ablation   one thing changed at a time, three seeds each: the README's second table
# make lint       ruff
#
# PYTHON=python3.12 picks the Python of the environment, ARGS="..." goes to dvc repro or pytest.

SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
RUN := PATH="$(CURDIR)/.venv/bin:$$PATH"

.PHONY: repro test proof ablation lint
.DELETE_ON_ERROR:

repro: .venv/installed
	$(RUN) dvc repro $(ARGS)
	@echo "the report: $(CURDIR)/reports/report.html"

test: .venv/installed-dev
	$(RUN) python tests/run_all.py $(ARGS)

proof: .venv/installed
	$(RUN) python -m benchmarks.proof $(ARGS)

ablation: .venv/installed
	$(RUN) python -m benchmarks.ablation $(ARGS)

lint: .venv/installed-dev
	$(RUN) ruff check .

# the stamps: installed again only when what is installed has changed
.venv/installed: pyproject.toml constraints.txt | .venv/bin/pip
	.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	.venv/bin/python -m clipdrive.carla_server --compile-only
	@touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/bin/pip
	.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	.venv/bin/python -m clipdrive.carla_server --compile-only
	@touch $@ .venv/installed

.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "clipdrive needs Python 3.10, 3.11 or 3.12; none is on the PATH" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo "no environment: Python lacks its venv module (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
