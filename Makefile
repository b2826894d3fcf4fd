# geodecloud: `make` lists what can be done here. Each target works in a fresh clone, from nothing.

VENV := .venv
BIN := $(VENV)/bin
# One environment in two sizes; a stamp is older than pyproject.toml when the install is stale.
CORE := $(VENV)/.core
FULL := $(VENV)/.full
BENCH := $(VENV)/.bench
# The plugin runs in the Python of QGIS, which is that of the system.
QGIS := .venv-qgis
PGSTAC := .venv-pgstac

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# one thread: tests are small, and threads that wait for a busy core cost more than they bring
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo figures test test-slow test-properties test-all test-qgis test-pgstac forms plugin check bench system clean distclean

help: ## List the targets
	@echo "geodecloud: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(CORE) ## Remove the clouds of the sample scene (core install, about a minute)
	@mkdir -p demo-out
	$(BIN)/geodecloud decloud sample/zurich_2019.tif demo-out/zurich_clear.tif \
	    --provenance demo-out/zurich_provenance.tif --mask-out demo-out/zurich_mask.tif \
	    --compare demo-out/compare.html --overwrite
	@echo "Open demo-out/compare.html in a browser and the *.tif in QGIS, where"
	@echo "zurich_provenance.tif shows what is original and what was generated."

figures: demo ## Make the picture of the README anew
	$(BIN)/python -c "from geodecloud.compare import figure_png; figure_png( \
	    'sample/zurich_2019.tif', 'demo-out/zurich_clear.tif', 'docs/figures/demo.png', \
	    provenance='demo-out/zurich_provenance.tif', overwrite=True)"

test: $(FULL) check ## Check the style and the types, then run the quick tests
	$(PYTEST) -m "not slow and not qgis and not pgstac"

test-slow: $(FULL) ## Run the slow tests and those on real scenes
	$(PYTEST) -m "(slow or realdata) and not qgis and not pgstac"

test-properties: $(FULL) ## Run the properties of the road with 500 examples each
	HYPOTHESIS_PROFILE=full $(PYTEST) tests/geo/test_tiling.py tests/geo/test_mosaic.py \
	    tests/geo/test_sensors.py tests/test_pipeline.py tests/test_tasks.py -m "not slow"

test-all: $(FULL) check ## Run everything that this machine can
	$(PYTEST)

test-pgstac: $(FULL) $(PGSTAC)/.ready ## Try batch on the reference STAC server and PostgreSQL
	$(PYTEST) -m pgstac tests/batch

test-qgis: $(FULL) $(QGIS)/.ready ## Try the plugin in QGIS, which Debian's apt-get brings, as root
	QT_QPA_PLATFORM=offscreen QGIS_CUSTOM_CONFIG_PATH=$(QGIS)/profile OMP_NUM_THREADS=1 \
	    $(QGIS)/bin/python -m pytest -c plugins/pytest.ini plugins/tests

forms: $(QGIS)/.ready ## Draw the forms of the QGIS plugin for docs/qgis.md anew
	QT_QPA_PLATFORM=offscreen QGIS_CUSTOM_CONFIG_PATH=$(QGIS)/profile \
	    $(QGIS)/bin/python plugins/forms.py docs/figures

plugin: ## Build the zip of the QGIS plugin into dist/
	@$(or $(PYTHON),python3) plugins/package.py dist

check: $(FULL) ## Check style (ruff), format (ruff) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

MEASURES = batch fill masks memory pipeline quality sky start training  # the others need arguments

bench: $(BENCH) ## Run the benchmarks beside their peers
	@for name in $(MEASURES); do \
	    echo "benchmarks/$$name.py"; $(BIN)/python "benchmarks/$$name.py" || exit 1; \
	done

system: ## Install what some tests need from the system (chromium), by apt-get as root
	@if command -v chromium >/dev/null; then echo "chromium is here"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; \
	else echo "some tests need chromium: install it with the package manager of this system"; fi

clean: ## Delete what tests and demos left, not the environment
	rm -rf demo-out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean ## Delete the environment too
	rm -rf $(VENV) $(QGIS) $(PGSTAC)

# pip comes last in a new environment: where it is, the environment is whole. Each candidate is
# run before it is taken, because a name on the PATH may lead nowhere.
$(BIN)/pip:
	@for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
	    if "$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' \
	        >/dev/null 2>&1; then \
	        echo "Making $(VENV) with $$("$$python" --version)"; \
	        exec "$$python" -m venv --clear $(VENV); \
	    fi; \
	done; \
	echo "No Python >= 3.11 with its venv module is on the PATH." >&2; \
	echo "Install one (Debian: apt-get install python3 python3-venv), or name it:" >&2; \
	echo "    make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; \
	exit 1

$(CORE): pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing geodecloud (460 MB, about half a minute)"
	@$(PIP) -e .
	@touch $@

$(FULL): pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing geodecloud with all extras (torch with CUDA: 6 GB, a few minutes)"
	@$(PIP) -e '.[all,test,dev]'
	@touch $@ $(CORE)

$(BENCH): pyproject.toml constraints.txt | $(FULL)
	@echo "Installing the peers of the benchmarks"
	@$(PIP) -e '.[all,test,dev,bench]'
	@$(PIP) --no-deps pytorch-toolbelt
	@touch $@

$(PGSTAC)/.ready: | $(FULL)
	@if ls /usr/share/postgresql/*/extension/postgis.control >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing PostgreSQL with PostGIS (200 MB, about a minute)"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	        --no-install-recommends postgresql postgresql-postgis >/dev/null; \
	else \
	    echo "These tests need PostgreSQL. On Debian or Ubuntu, as root:" >&2; \
	    echo "    apt-get install postgresql postgresql-postgis" >&2; \
	    exit 1; \
	fi
	@$(BIN)/python -m venv --clear $(PGSTAC)
	@$(PGSTAC)/bin/python -m pip install --quiet --disable-pip-version-check \
	    stac-fastapi.pgstac 'pypgstac[psycopg]' uvicorn
	@touch $@

$(QGIS)/.ready:
	@if command -v qgis_process.bin >/dev/null && /usr/bin/python3 -c 'import qgis.core' 2>/dev/null; \
	then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing QGIS (270 MB, about two minutes)"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	        --no-install-recommends qgis python3-qgis qgis-providers python3-venv xvfb >/dev/null; \
	else \
	    echo "The plugin's tests need QGIS. On Debian or Ubuntu, as root:" >&2; \
	    echo "    apt-get install qgis python3-qgis qgis-providers python3-venv xvfb" >&2; \
	    exit 1; \
	fi
	@/usr/bin/python3 -m venv --clear --system-site-packages $(QGIS)
	@$(QGIS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	    pytest pytest-timeout pytest-qgis flake8
	@touch $@
