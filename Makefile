# make demo: see it work.  make test: check everything.  Both make their virtual environments first.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := -m pip install --quiet --disable-pip-version-check --constraint
SERVING := build/serving
# What another version of transformers, or exported folders in Optimum, could break.
WITH_OPTIMUM := tests/optimum tests/export/test_exporter.py tests/scoring/test_onnx_teacher.py \
	tests/uncertainty/test_encoders.py tests/uncertainty/test_factory.py tests/uncertainty/test_packed_engine.py \
	tests/uncertainty/test_reference_engine.py tests/uncertainty/test_dropout_sites.py \
	tests/models tests/distillation/test_trainer.py

.PHONY: demo test check test-serving test-optimum clean

demo: .venv/installed
	$(BIN)/muka-fast demo --overwrite

test: check
	$(BIN)/python -m pytest
	$(MAKE) test-serving
	$(MAKE) test-optimum

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
	.venv-optimum/bin/python -m pytest $(WITH_OPTIMUM)

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'Python 3.11 or newer is needed: make PYTHON=…')"
	$(PYTHON) -m venv .venv
	$(BIN)/python $(INSTALL) constraints.txt torch
	$(BIN)/python $(INSTALL) constraints.txt --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python $(INSTALL) constraints.txt --editable '.[onnx,test]'
	touch $@

.venv-serving/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-serving
	.venv-serving/bin/python $(INSTALL) constraints.txt numpy onnxruntime tokenizers
	.venv-serving/bin/python $(INSTALL) constraints.txt --no-deps --editable .
	touch $@

.venv-optimum/installed: pyproject.toml constraints-optimum.txt
	$(PYTHON) -m venv .venv-optimum
	.venv-optimum/bin/python $(INSTALL) constraints-optimum.txt torch
	.venv-optimum/bin/python $(INSTALL) constraints-optimum.txt --editable '.[optimum,onnx,test]'
	touch $@

clean:
	rm -rf .venv .venv-* build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
