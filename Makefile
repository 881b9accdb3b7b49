# make demo: see it work.  make test: check everything.  make test-fast: two minutes of it.
# make faults: fault campaigns, one to two hours of processor time.
# make test-versions: other versions of Python and transformers.
# Each makes its virtual environments first.
PYTHON ?= python3
BIN := .venv/bin
# Python compiles a module when it is first imported; most of what is installed never is.
INSTALL := -m pip install --quiet --disable-pip-version-check --no-compile --constraint
SERVING := build/serving
WORKERS ?= 2
# Tests of one xdist_group share expensive fixtures, so they run in one worker.
PYTEST := -m pytest --numprocesses $(WORKERS) --dist loadgroup

# More threads than cores wait for each other: one OpenMP thread a worker.
export OMP_NUM_THREADS := 1

# What make test-versions combines; a Python that is not installed is left out.
PYTHONS ?= python3.11 python3.12 python3.13 python3.14
TRANSFORMERS ?= 4.57.6 5.0.0 5.23.0
FOUND = $(foreach python,$(PYTHONS),$(if $(shell command -v $(python)),$(python)))

.PHONY: demo test test-fast faults check test-serving test-optimum test-versions clean

demo: .venv/installed
	$(BIN)/muka-fast demo --overwrite

# The checks need one core, so the other environments are made beside them.
test:
	$(MAKE) --jobs 2 check test-serving .venv-optimum/installed
	$(BIN)/python $(PYTEST)
	$(MAKE) test-optimum

test-fast: .venv/installed-test
	$(BIN)/python $(PYTEST) -m "not slow"

# Kills, full disks, corrupted files, fuzzed input: the long form, and its page.
faults: .venv/installed-test
	$(BIN)/python -m tests.faults.campaigns --out benchmarks/results/reliability.json
	$(BIN)/python -m tests.faults.campaigns --show benchmarks/results/reliability.json

check: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# An export served where there is neither torch nor transformers.
test-serving: .venv/installed-test .venv-serving/installed
	rm -rf $(SERVING)
	$(BIN)/python tests/serving_alone.py write $(SERVING)
	.venv-serving/bin/python tests/serving_alone.py check $(SERVING)

# The package on transformers 4.57, and its exports in Optimum.
test-optimum: .venv-optimum/installed
	.venv-optimum/bin/python $(PYTEST) -m transformers4

# The package with each pair of a Python and a transformers, in environments of their own. The pins of what
# transformers bounds, or is bounded by, are left out. Installs torch once per pair.
test-versions:
	@test -n "$(FOUND)" || { echo "none of these is installed: $(PYTHONS)"; exit 1; }
	@echo "with: $(FOUND); not installed: $(filter-out $(FOUND),$(PYTHONS))"
	set -e; for python in $(FOUND); do for version in $(TRANSFORMERS); do \
		folder=.venv-versions/$$python-$$version; pins=$$folder/constraints.txt; \
		$$python -m venv $$folder; \
		grep -v -E "^(transformers|huggingface_hub|tokenizers|sentence-transformers)==" constraints.txt > $$pins; \
		echo "transformers==$$version" >> $$pins; \
		$$folder/bin/python $(INSTALL) $$pins torch; \
		$$folder/bin/python $(INSTALL) $$pins --editable '.[onnx,test]'; \
		$$folder/bin/python $(PYTEST) -m "transformers4 and not slow"; \
	done; done

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'Python 3.11 or newer is needed: make PYTHON=…')"
	$(PYTHON) -m venv .venv
	$(BIN)/python $(INSTALL) constraints.txt torch
	$(BIN)/python $(INSTALL) constraints.txt --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python $(INSTALL) constraints.txt --editable '.[onnx,test]'
	touch $@

# One environment after the other: each installation rewrites the package's egg-info.
.venv-serving/installed: pyproject.toml constraints.txt | .venv/installed-test
	$(PYTHON) -m venv .venv-serving
	.venv-serving/bin/python $(INSTALL) constraints.txt numpy onnxruntime tokenizers
	.venv-serving/bin/python $(INSTALL) constraints.txt --no-deps --editable .
	touch $@

# Laid over .venv: what differs is installed here and found first, the rest (torch) is read from .venv.
.venv-optimum/installed: .venv/installed-test constraints-optimum.txt | .venv-serving/installed
	$(PYTHON) -m venv .venv-optimum
	$(BIN)/python -c "import sysconfig; print(f'import site; site.addsitedir({sysconfig.get_path(\"purelib\")!r})')" \
		> "$$(.venv-optimum/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/base.pth"
	.venv-optimum/bin/python $(INSTALL) constraints-optimum.txt --editable '.[optimum,onnx,test]'
	touch $@

clean:
	rm -rf .venv .venv-* build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
