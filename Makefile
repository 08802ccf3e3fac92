# LatentSpeech. `make help` lists the targets. Needs Python 3.11 or newer and make; nothing else.
# The environment is .venv, built once by tools/set_up.py. To use one of your own (with a CUDA torch, say): make test VENV=/path/to/it

VENV ?= .venv
CANDIDATES = python3 python3.13 python3.12 python3.11 python3.14 python
PYTHON ?= $(shell for p in $(CANDIDATES); do $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
RUN = $(abspath $(VENV))/bin/python
SPEAKER = $(abspath $(VENV))/bin/latentspeech
READY = $(VENV)/ready
PRESET ?= mini
VOICE ?= mini
DEVICE ?= cpu
MINUTES ?=
TEXT ?= 今天天气很好
PORT ?= 8888
STUDIO_PORT ?= 8866
LESSON ?=

export PYTHONUNBUFFERED = 1
export PYDEVD_DISABLE_FILE_VALIDATION = 1
# Threads that wait in a loop keep each other from working as soon as anything else runs: training then slows down
# tenfold. Spin briefly, then sleep.
export GOMP_SPINCOUNT ?= 2000
export SCRATCH
# Many containers forbid to write bytecode beside sources. Every process would then compile torch anew, nine seconds before
# its first optimiser; so it is kept in the environment instead.
ifdef PYTHONDONTWRITEBYTECODE
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX ?= $(abspath $(VENV))/bytecode
endif

.PHONY: help setup demo test test-fire test-course test-browser lab studio course times docs bench weights gpu speak export readme clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@echo "LatentSpeech: learn, teach and run latent-diffusion speech synthesis"
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile
	@echo "Variables: PYTHON= (an interpreter for a new environment), VENV= (an environment of your own), PRESET= VOICE= DEVICE= MINUTES= CORPUS= OUT= TEXT= SCRATCH=1"

# Built again only when the pins or the metadata change.
$(READY): constraints.txt pyproject.toml tools/set_up.py
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer that can make environments was found."; \
	  echo "Install one (Debian and Ubuntu: apt-get install python3 python3-venv; macOS: brew install python@3.12), or name it: make setup PYTHON=/path/to/python3.12"; exit 1; }
	@"$(PYTHON)" -m tools.set_up "$(VENV)"

setup: $(READY)  ## build .venv (once; later calls find it ready)
	@echo "The environment in $(VENV) is ready."

demo: $(READY)  ## the main job: corpus, training, evaluation, out/demo/index.html (SCRATCH=1: from nothing)
	@"$(RUN)" -m demo --preset "$(PRESET)"

test: $(READY)  ## every notebook on a fresh kernel and every test
	@"$(RUN)" -m tools.run_all

test-fire: $(READY)  ## every fault that is known, injected: kills, full disks, damage, ranks (some ten minutes)
	@"$(RUN)" -m tools.fire

lab: $(READY)  ## open JupyterLab at the first lesson
	"$(RUN)" -m jupyter lab --notebook-dir=nbs --port=$(PORT) --LabApp.default_url=/lab/tree/00_hear_it_first.ipynb

studio: $(READY)  ## the studio of lesson 80 as a page for this machine alone (installs the studio extra; STUDIO_PORT=8866)
	@"$(RUN)" -m tools.studio --port $(STUDIO_PORT)

test-browser: $(READY)  ## every lesson, the studio and the site in a real browser (needs chromium): LESSON="12 80" for some
	@"$(RUN)" -m tools.browser $(LESSON)

course: $(READY)  ## editions for students and teachers, answer key, assignment, slides: out/course
	@"$(RUN)" -m tools.course

test-course: $(READY)  ## every exercise, the editions, the teacher's pages
	@"$(RUN)" -m tools.run_all tests/test_exercises.py

times: $(READY)  ## after make test: what it measured, and how long grading takes, into teaching/ and the headers
	@"$(RUN)" -m tools.course times

docs: $(READY)  ## the notebooks as a web site in _docs (installs the docs extra)
	@"$(RUN)" -m tools.docs

bench: $(READY)  ## real-time factors of every stage on this machine, the paper's beside them: VOICE=mini or base
	@"$(SPEAKER)" bench --preset "$(VOICE)" --device "$(DEVICE)"

weights: $(READY)  ## train and install weights: PRESET=mini DEVICE=cpu MINUTES=90 (goes on where it stopped)
	@"$(SPEAKER)" train all --preset "$(PRESET)" --device "$(DEVICE)" --resume $(if $(MINUTES),--minutes $(MINUTES)) --out latentspeech/pretrained

gpu: $(READY)  ## train by the clock, weights written as they come: PRESET=base DEVICE=cuda MINUTES=9 (goes on where it stopped)
	@"$(SPEAKER)" train all --clock --preset "$(PRESET)" --device "$(DEVICE)" --minutes $(or $(MINUTES),9) \
	  $(if $(CORPUS),--corpus "$(CORPUS)") --out "$(or $(OUT),out/gpu/$(PRESET))"

speak: $(READY)  ## speak a text: make speak TEXT="今天天气很好" VOICE=mini or base
	@"$(SPEAKER)" speak "$$TEXT" --preset "$(VOICE)" --judge --out out/speech.wav
export TEXT

export: $(READY)  ## notebooks -> latentspeech/, cleaned
	@"$(abspath $(VENV))/bin/nbdev_export" && "$(abspath $(VENV))/bin/nbdev_clean"

readme: $(READY)  ## README.md from nbs/index.ipynb, and the pictures
	@"$(RUN)" -m tools.diagram && "$(RUN)" -m tools.course write && "$(RUN)" -m tools.readme

clean:  ## remove what was built, but for .venv, corpora and weights
	rm -rf out _docs _proc build dist *.egg-info .pytest_cache .ruff_cache
	find latentspeech nbs tests tools demo -name __pycache__ -prune -exec rm -rf {} +
