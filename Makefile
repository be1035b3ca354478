# make serve   install the serving dependencies, and start the service with the bundled model
# make test    install the test dependencies, check style and types, and run the tests
# make test-all  the same, with the long sweeps over every architecture and shape
# make test-whisper  CHECKPOINT=folder SPEECH=manifest.jsonl LANGUAGE=en: test a real Whisper checkpoint on real speech
# make test-clients  the tests of OpenAI's clients, with the one for JavaScript; needs Node and npm
# make test-page  the page at / in Chromium: uploads, a fake microphone, the keyboard, axe-core; needs Node, npm, Chromium
# make fuzz    decode broken files of every format for an hour, on one core, and save failures in artifacts/fuzz.
#              SECONDS=600: for ten minutes; OPTIONS=options of tests/fuzz, such as "--seeds recordings/"
# make model   CHECKPOINT=cahya/wav2vec2-base-turkish: install the dependencies of the scripts, export the checkpoint to
#              models/, quantize it, prove it, and print the command that serves it. EVAL=manifest.jsonl: prove it on
#              this set instead of the samples; NAME=folder below models/; OPTIONS=options of scripts/export.py
# make load    install the dependencies of the load test, start the service, let 10 users upload clips for a minute, and
#              write artifacts/load_report.md. OPTIONS=options of scripts/load.py, such as --capacity
# make lock    update constraints.txt and requirements.lock after a change of the dependencies in pyproject.toml
#
# PyTorch (tests, training, export) comes from the default index. On Linux, that build includes CUDA. For the smaller
# CPU build: make test TORCH_INDEX=https://download.pytorch.org/whl/cpu

# These are only set on the command line: HOST, NAME and the like may have another meaning in the user's environment.
PYTHON := python3.11
HOST := $(or $(ASR_HOST),0.0.0.0)
# Kubernetes sets ASR_PORT to tcp://... if there is a Service called `asr`.
PORT := $(or $(if $(findstring ://,$(ASR_PORT)),,$(ASR_PORT)),8000)
TORCH_INDEX :=

# Python compiles a module at its first import. pip would compile three times as many modules as are used.
unexport PYTHONDONTWRITEBYTECODE
PIP := -m pip --quiet --disable-pip-version-check
INSTALL := $(PIP) install --no-compile

SERVE := .venv
DEV := .venv-dev
# The test environment has all dependencies of the scripts.
TRAIN := $(if $(wildcard .venv-dev/installed),.venv-dev,.venv-train)
LOAD := $(if $(wildcard .venv-dev/installed),.venv-dev,.venv-load)

CHECKPOINT :=
SPEECH :=
LANGUAGE :=
EVAL :=
OPTIONS :=
SECONDS := 3600
OPENAI_NODE := 6.49.0
PLAYWRIGHT := 1.65.1
AXE := 4.14.1

# Make splits at spaces, so paths have | instead of spaces in its functions. In commands they are quoted for the shell.
empty :=
space := $(empty) $(empty)
whole = $(subst $(space),|,$(1))
path = $(subst |,$(space),$(1))
quote = '$(subst ','\'',$(1))'

FROM := $(call whole,$(CHECKPOINT))
BASE := $(notdir $(FROM:/=))
# A checkpoint in models/ itself is not overwritten.
NAME := $(call path,$(BASE))$(if $(filter $(call whole,$(abspath models/$(BASE))),$(call whole,$(abspath $(FROM)))),-onnx)

ifeq ($(MAKECMDGOALS)$(FROM),model)
$(error Which model? For example: make model CHECKPOINT=cahya/wav2vec2-base-turkish)
endif

.PHONY: serve test test-all test-whisper test-clients test-page lint fuzz model load lock clean

serve: $(SERVE)/installed
	@echo
	@echo "Dikte starts on http://localhost:$(PORT)  (Swagger UI: http://localhost:$(PORT)/docs). Try:"
	@echo "    curl -F file=@samples/sample.wav http://localhost:$(PORT)/transcribe"
	@echo
	@ASR_HOST=$(HOST) ASR_PORT=$(PORT) exec $(SERVE)/bin/python -m app

TESTS := -m pytest -n auto --dist worksteal
test: lint
	$(DEV)/bin/python $(TESTS) -m "not slow and not real" --cov

test-all: lint
	$(DEV)/bin/python $(TESTS) -m "not real" --cov

test-whisper: $(DEV)/installed
	CHECKPOINT=$(call quote,$(CHECKPOINT)) SPEECH=$(call quote,$(SPEECH)) LANGUAGE=$(call quote,$(LANGUAGE)) \
	  $(DEV)/bin/python -m pytest -m real tests/test_real_whisper.py -s

test-clients: $(DEV)/installed
	npm install --no-audit --no-fund --no-save --prefix artifacts/clients openai@$(OPENAI_NODE)
	DIKTE_NODE_MODULES=artifacts/clients/node_modules $(DEV)/bin/python -m pytest tests/test_openai_clients.py

test-page: $(DEV)/installed
	npm install --no-audit --no-fund --no-save --prefix artifacts/page playwright-core@$(PLAYWRIGHT) axe-core@$(AXE)
	DIKTE_NODE_MODULES=artifacts/page/node_modules $(DEV)/bin/python -m pytest tests/test_page_in_browser.py

fuzz: $(DEV)/installed
	$(DEV)/bin/python -m tests.fuzz --seconds $(SECONDS) $(OPTIONS)

lint: $(DEV)/installed
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy --num-workers 2
	$(DEV)/bin/mypy locust/locustfile.py

model: $(TRAIN)/installed
	$(TRAIN)/bin/python scripts/export.py --checkpoint_dir $(call quote,$(CHECKPOINT)) \
	  --onnx_dir $(call quote,models/$(NAME)) $(if $(EVAL),--eval_manifest $(call quote,$(EVAL)) )$(OPTIONS)

load: $(LOAD)/installed
	$(LOAD)/bin/python scripts/load.py $(OPTIONS)

# Every environment contains the project itself (`-e .`), so that commands work from any folder.
LOCKED := pyproject.toml constraints.txt

$(SERVE)/installed: requirements.txt $(LOCKED)
	$(PYTHON) -m venv $(SERVE)
	$(SERVE)/bin/python $(INSTALL) -r requirements.txt
	@touch $@

$(DEV)/installed: requirements-test.txt $(LOCKED)
	$(PYTHON) -m venv $(DEV)
	$(if $(TORCH_INDEX),$(DEV)/bin/python $(INSTALL) --index-url $(TORCH_INDEX) "$$(grep ^torch== constraints.txt)")
	$(DEV)/bin/python $(INSTALL) -r requirements-test.txt
	@touch $@

.venv-train/installed: requirements-train.txt $(LOCKED)
	$(PYTHON) -m venv .venv-train
	$(if $(TORCH_INDEX),.venv-train/bin/python $(INSTALL) --index-url $(TORCH_INDEX) "$$(grep ^torch== constraints.txt)")
	.venv-train/bin/python $(INSTALL) -r requirements-train.txt
	@touch $@

.venv-load/installed: requirements-load.txt $(LOCKED)
	$(PYTHON) -m venv .venv-load
	.venv-load/bin/python $(INSTALL) -r requirements-load.txt
	@touch $@

# constraints.txt has the versions of all extras; requirements.lock has those of the serving image, with hashes. Versions
# that pyproject.toml still allows do not change; delete the files first to get the newest. The CPU build of PyTorch is
# locked as the release.
LOCK := --quiet --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python $(INSTALL) pip-tools==7.6.2
	CUSTOM_COMPILE_COMMAND="make lock" .venv-lock/bin/pip-compile $(LOCK) --all-extras --output-file=constraints.txt pyproject.toml
	sed -i -e 's/^\(torch==[^+]*\)+cpu$$/\1/' -e '/^dikte @/,/^ /d' -e '/^ *# *dikte$$/d' constraints.txt
	CUSTOM_COMPILE_COMMAND="make lock" .venv-lock/bin/pip-compile $(LOCK) --generate-hashes --no-annotate \
	  --constraint=constraints.txt --output-file=requirements.lock pyproject.toml

clean:
	rm -rf $(SERVE) $(DEV) .venv-load .venv-lock .venv-train dikte.egg-info .mypy_cache .pytest_cache .ruff_cache
