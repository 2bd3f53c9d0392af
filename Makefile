# Every target makes .venv in this folder when there is none and installs into it what is needed:
# see .ci/prepare. Nothing has to be activated first.

MAKEFLAGS += --no-print-directory
BIN := .venv/bin
CODE := mesoslite agents frameworks benchmarks protos tests
QUICK_TESTS := tests/unit tests/properties tests/scenarios tests/planted
.DEFAULT_GOAL := help
.PHONY: help demo smack test test-services check bench protos simulate chaos simulate-long scenarios-rewrite planted clean venv venv-containers venv-tests venv-services

# Somebody else's environment must not leak into this one.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

demo: venv-containers ## Start a master and three agents, run a framework, watch, clean up
	@$(BIN)/mesoslite demo

smack: venv-services ## Kafka, Spark and Cassandra count events: EVENTS=n KILL_HOST=1 SEED=n
	@$(BIN)/mesoslite dev --port 0 --agents 3 --cpus 9 --mem 8GiB --disk 9GiB -- \
	    $(BIN)/mesoslite framework run pipeline $(if $(EVENTS),--events $(EVENTS)) \
	    $(if $(SEED),--seed $(SEED)) $(if $(KILL_HOST),--kill-host)

test: venv-services ## Run the test suite, containers and data services included
	@$(BIN)/python -m pytest --durations=20

test-services: venv-services ## Test real data services alone, for as long as it takes, or SHORT=1
	@MESOSLITE_LONG=$(if $(SHORT),0,1) $(BIN)/python -m pytest tests/services

check: venv ## Format, lint, types, import rules, protos, quick tests: under a minute
	@echo 'ruff format'; $(BIN)/ruff format --quiet --check . || { \
	    echo 'to mend it: $(BIN)/ruff format .'; exit 1; }
	@echo 'ruff check'; $(BIN)/ruff check --quiet .
	@echo 'mypy --strict'; $(BIN)/mypy --no-error-summary
	@echo 'lint-imports'; $(BIN)/lint-imports --no-logo > .venv/lint-imports.log || { \
	    cat .venv/lint-imports.log; exit 1; }
	@echo 'protos'; $(BIN)/python protos/generate.py --check
	@echo 'quick tests'; $(BIN)/python -m pytest --quiet -n 2 $(QUICK_TESTS)
	@echo 'simulation'; $(BIN)/python -m tests.simulation --seeds 20

bench: venv-tests ## Run all benchmarks and write docs/benchmarks.md
	@$(BIN)/python -m benchmarks all

protos: venv ## Generate mesoslite/v1 from protos/
	@$(BIN)/python protos/generate.py

simulate: venv ## Simulate 200 seeds, or tell the story of SEED=n
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED))

simulate-long: venv ## Simulate 10,000 seeds, on JOBS=n processes
	@$(BIN)/python -m tests.simulation --seeds 10000 --progress $(if $(JOBS),--jobs $(JOBS))

chaos: venv-tests ## Kill, stop and cut off real processes for 3 minutes a round: ROUNDS=n SEED=n
	@$(BIN)/python -m tests.chaos --rounds $(or $(ROUNDS),1) --seed $(or $(SEED),1)

scenarios-rewrite: venv ## Write the scenarios' expected output anew; read the diff
	@$(BIN)/python -m tests.scenarios --rewrite

planted: venv-tests ## Plant each known bug and require a failing test, or only ONLY=03
	@$(BIN)/python -m tests.planted $(if $(ONLY),--only $(ONLY))

clean: ## Remove .venv and everything that was built or cached
	@rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

venv:
	@.ci/prepare

venv-containers:
	@.ci/prepare containers

venv-tests:
	@.ci/prepare containers services

venv-services:
	@.ci/prepare containers services spark
