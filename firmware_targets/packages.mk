# Packages and what surrounds them; included by the Makefile above.
.PHONY: packages sizes vendor stage target-check target-table qemu boot-test

packages: $(VENV)/.build ## build .ipk, .deb, sigen-bridge.run, wheel and sdist into dist/, sizes against budgets
	$(BIN)/python -m firmware_targets packages

sizes: $(VENV)/.build ## what the router packages take on flash, against their budgets
	@$(BIN)/python -m firmware_targets sizes

vendor: $(VENV)/.build ## fetch the pinned wheels that the packages carry into build/vendor (needs the network)
	$(BIN)/python -m firmware_targets vendor

stage: $(VENV)/.build ## put the files for the OpenWrt SDK recipe into build/openwrt
	$(BIN)/python -m firmware_targets stage

target-check: ## hold every descriptor of firmware_targets against the schema, the packages and the installer
	@$(PYTHON) -m firmware_targets check

target-table: ## print the table of targets that stands in docs/targets.md
	@$(PYTHON) -m firmware_targets table

qemu: $(VENV)/.build ## the installed core on ARM and MIPS under qemu-user (root, mmdebstrap, qemu-user-static)
	PYTHON=$(BIN)/python sh firmware_targets/qemu.sh

boot-test: $(VENV)/.build ## the .deb on a booted systemd: SUITE=bookworm|trixie (root, mmdebstrap, systemd-container)
	PYTHON=$(BIN)/python sh firmware_targets/boot/boot-test.sh

$(VENV)/.build: $(VENV)/.test
	@$(BIN)/pip install --quiet --disable-pip-version-check 'setuptools>=70.1'
	@touch $@
