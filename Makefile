# Every target is enough alone on a machine that has Python 3.11 or newer and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Decisions without I/O: every branch of them is tested.
PURE := libs/common/contracts/*,libs/common/states.py,libs/common/text.py,libs/common/pages.py,libs/common/etags.py,libs/common/forwarded.py,libs/common/openapi.py,services/*/plan.py,services/*/states.py,services/gateway/router.py,$\
	libs/common/connect/protocol.py,libs/common/connect/aliases.py,libs/common/connect/calls.py,$\
	services/gateway/call_tokens.py,services/gateway/options.py,services/gateway/edge_table.py,$\
	services/gateway/satellite/plan.py,services/gateway/satellite/reports.py,services/gateway/data/paths.py,$\
	services/gateway/data/acl.py,services/gateway/data/media.py,libs/common/ranges.py,$\
	services/fakts/identity/claims.py,services/fakts/pages/destinations.py,services/fakts/pages/words.py,$\
	services/fakts/where.py,services/fakts/limits.py,services/fakts/preflight/strategies/*,$\
	services/fakts/preflight/codes.py,services/fakts/preflight/composition.py,services/fakts/preflight/documents.py,$\
	services/fakts/preflight/manifests.py,services/fakts/preflight/parameters.py,services/fakts/preflight/patterns.py,$\
	services/fakts/preflight/rules.py,services/fakts/oauth/prompts.py,$\
	services/deployer/placement.py,services/deployer/view.py,services/deployer/launch_plan.py,$\
	services/deployer/kubernetes/satellite.py,services/deployer/kubernetes/objects.py,services/deployer/kubernetes/pods.py,$\
	services/deployer/kubernetes/policies.py,services/deployer/kubernetes/drift.py,$\
	services/deployer/kubernetes/observed.py,services/deployer/kubernetes/printed.py,services/deployer/kubernetes/steps.py,$\
	services/registry/numbering.py,services/registry/satellite_entries.py,services/registry/application_fields.py,$\
	constellation/bundle/configuration.py,$\
	libs/common/oci/references.py,libs/common/oci/challenges.py,libs/common/oci/documents.py,libs/common/oci/images.py
TEST_PACKAGES := git=git node=nodejs npm=npm /usr/sbin/rabbitmq-server=rabbitmq-server ip=iproute2 chromium=chromium $\
	/usr/bin/docker-registry=docker-registry /usr/sbin/dockerd=docker.io

.PHONY: run install install-dev test check bench lock

run: install
	$(BIN)/constellation up --demo

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name it with make PYTHON=..." >&2; exit 1; }
	@scripts/packages git=git
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/packages /no-ensurepip=python3-venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/coverage run -m pytest -q tests/unit
	$(BIN)/coverage report --fail-under=100 --include=$(PURE)

test: install-dev
	@scripts/packages $(TEST_PACKAGES)
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

bench: install-dev
	@scripts/packages nginx=nginx-light wrk=wrk node=nodejs npm=npm
	$(BIN)/python -m bench

lock:
	$(BIN)/uv pip compile -q --no-header --universal --python-version 3.11 --generate-hashes \
		--extra build pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --no-header --universal --python-version 3.11 --generate-hashes \
		--extra build --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
