# sigen-bridge: `make help` lists what there is.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
TESTS ?= tests
DEBIAN_PARTS = mbpoll socat shellcheck busybox dash valgrind make systemd \
  systemd-container mmdebstrap qemu-user-static mosquitto mosquitto-clients \
  prometheus chromium chromium-driver curl openssl zsh
MATRIX ?= 3.9 3.10 3.11 3.12 3.13 3.14

# What failed beside others on a busy machine is judged once more, alone; what fails alone has failed.
ALONE = $(BIN)/python -m pytest $(TESTS) --last-failed --last-failed-no-failures none

.DEFAULT_GOAL := help
.PHONY: help run test test-deps check matrix bench soak clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort | expand -t 16

run: ## run the bridge: HOST=... SHELLY=... for real devices, without them simulated ones
	@$(MAKE) -s --no-print-directory $(VENV)/.run || \
	  echo "no virtual environment here (Debian: apt install python3-venv); running without one and without WebSocket"
	@exe="$(PYTHON) -m bridge"; [ ! -f $(VENV)/.run ] || exe=$(BIN)/sigen-bridge; \
	if [ -n "$(HOST)$(SERIAL)" ]; then \
	  exec $$exe run --print $(if $(HOST),--host "$(HOST)") $(if $(SERIAL),--serial "$(SERIAL)") \
	    $(if $(SHELLY),--shelly-host "$(SHELLY)") $(ARGS); \
	else \
	  exec $$exe demo $(if $(SHELLY),--shelly-host "$(SHELLY)") $(ARGS); \
	fi

test: $(VENV)/.test ## run the tests; what needs a missing program is listed at the end
	@some=; for when in "not timing" timing; do \
	  side=; [ "$$when" = timing ] || side="-n 4"; \
	  $(BIN)/python -m pytest $(TESTS) $$side -m "$$when" $(ARGS); code=$$?; \
	  case $$code in 5) continue ;; 0) ;; *) $(ALONE) -m "$$when" || exit $$? ;; esac; some=yes; \
	done; [ -n "$$some" ] || { echo "TESTS=$(TESTS) ARGS=$(ARGS): no such test"; exit 5; }

test-deps: ## install what some tests drive: Debian packages (apt) and the Workers runtime (npm)
	apt-get update
	apt-get install -y --no-install-recommends $(DEBIAN_PARTS)
	cd tests/worker && npm ci --no-audit --no-fund

check: $(VENV)/.test ## ruff, mypy, shellcheck, house rules
	$(BIN)/ruff check .
	$(BIN)/mypy
	sh tests/shellcheck.sh
	$(BIN)/python -m pytest tests/test_house.py

matrix: ## run the tests on every Python from 3.9 to 3.14 that is here
	@MATRIX_ARGS="$(MATRIX_ARGS)" sh tests/matrix.sh $(MATRIX)

bench: $(VENV)/.test ## measure ours beside two baselines: memory, CPU, instructions, requests, start
	$(BIN)/python -m tests.bench

soak: $(VENV)/.test ## a day of cycles as fast as they go, with random faults
	$(BIN)/python -m tests.soak $(ARGS)

clean: ## remove what make made
	rm -rf $(VENV) .matrix build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

include firmware_targets/packages.mk

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.9 or later is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 9) else 0)'
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); exit 1; }

$(VENV)/.run: $(VENV)/bin/pip setup.cfg
	@echo "setting up $(VENV) (once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -e '.[ws]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/pip setup.cfg
	$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -e '.[ws,mqtt,discovery,test,check]'
	@touch $@ $(VENV)/.run
