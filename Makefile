# What people, CI and the documentation use. The work itself is in scripts/.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run up down test test-compose check bench clean

PYTHON_HERE := .venv/bin/python
SOURCES := contract inference modelzoo backend glue_jobs localcloud cli frontend scripts

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

run: ## set up, build the model, start the API and the page; Ctrl-C stops them
	@scripts/setup.sh run
	@$(PYTHON_HERE) -m scripts.run

up: ## the same in containers: build the images, start them, wait until they are ready (ON=gpu, ON=accelerator: on that)
	@python3 -m scripts.compose up $(ON)

down: ## end what `up` started; its uploads and results are gone then
	@python3 -m scripts.compose down

test: ## all tests; some of them: make test ARGS="-k words"; with coverage, which takes longer: ARGS=--cov
	@scripts/setup.sh test
	@$(PYTHON_HERE) -m pytest --numprocesses 2 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder $(ARGS)

test-compose: ## the tests that need Docker: the journey in containers, the production overlay, rolling updates
	@scripts/setup.sh test
	@NINEFOLD_TEST_COMPOSE=1 $(PYTHON_HERE) -m pytest $(ARGS) tests/compose

check: ## format, lint, types, who may import whom; workflows and shell scripts
	@scripts/setup.sh check
	$(PYTHON_HERE) -m ruff format --check .
	$(PYTHON_HERE) -m ruff check .
	$(PYTHON_HERE) -m mypy $(SOURCES)
	$(PYTHON_HERE) -m mypy lambda/start_preprocessing.py
	.venv/bin/lint-imports
	.venv/bin/zizmor --offline --quiet --persona=pedantic .github/workflows
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv/bin/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml docker-compose.gpu.yml docker-compose.accelerator.yml
	.venv/bin/shellcheck .ci/run scripts/setup.sh infra/host/*.sh proxy/*.sh

bench: ## accuracy, memory, streams, pixels against the reference, roofline (ARGS=--quick: on fewer pictures)
	@scripts/setup.sh test
	@$(PYTHON_HERE) -m bench.accuracy
	@$(PYTHON_HERE) -m bench.memory
	@$(PYTHON_HERE) -m bench.streams
	@$(PYTHON_HERE) -m bench.pixels $(ARGS)
	@.venv/bin/ninefold models build resnet18-seeded
	@.venv/bin/ninefold models quantize resnet18-seeded
	@$(PYTHON_HERE) -m bench.roofline $(ARGS)

clean: ## remove what was installed, built and cached here
	rm -rf .venv .venv-glue .venv-peers models build .test-artefacts .coverage .pytest_cache .mypy_cache .ruff_cache .import_linter_cache \
		.hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
