# make serve   install what serving needs, start the service on the bundled model
# make test    install what the tests need, check style and types, run the tests
#
# PyTorch (tests, training, export) comes from the usual index. On Linux that build brings CUDA along; for the small
# CPU build: make test TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3.11
HOST ?= 0.0.0.0
PORT ?= 8000
TORCH_INDEX ?=

SERVE := .venv
DEV := .venv-dev

.PHONY: serve test lint clean

serve: $(SERVE)/installed
	@echo
	@echo "Dikte starts on http://localhost:$(PORT)  (Swagger UI: http://localhost:$(PORT)/docs). Try:"
	@echo "    curl -F file=@samples/sample.wav http://localhost:$(PORT)/transcribe"
	@echo
	@exec $(SERVE)/bin/uvicorn app.main:app --host $(HOST) --port $(PORT)

test: lint
	$(DEV)/bin/python -m pytest

lint: $(DEV)/installed
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy

$(SERVE)/installed: requirements.txt
	$(PYTHON) -m venv $(SERVE)
	$(SERVE)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(DEV)/installed: requirements.txt requirements-train.txt requirements-test.txt
	$(PYTHON) -m venv $(DEV)
	$(if $(TORCH_INDEX),$(DEV)/bin/pip install --quiet --index-url $(TORCH_INDEX) torch==2.13.0)
	$(DEV)/bin/pip install --quiet --disable-pip-version-check -r requirements-test.txt
	@touch $@

clean:
	rm -rf $(SERVE) $(DEV) .mypy_cache .pytest_cache .ruff_cache
