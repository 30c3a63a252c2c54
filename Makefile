# What a person needs, one target each. Everything runs in .venv, which scripts/setup makes.
PYTEST = .venv/bin/python -m pytest
# Four more than there are processors: many tests wait for a server, some for minutes.
PROCESSES ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 4)))

# Tests start sloctl a thousand times: each start would compile all its modules anew.
unexport PYTHONDONTWRITEBYTECODE
# promtool and Prometheus collect garbage a quarter of their time; here they have memory enough.
export GOGC ?= 400
export GOMEMLIMIT ?= 1GiB

.DEFAULT_GOAL := help
.PHONY: help setup tools test test-fast check golden bench bench-smoke kubernetes fuzz proofs engines clickhouse crash soak image
.PHONY: demo demo-setup demo-tools bare docs floors matrix package sizes lock sbom audit

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

setup: ## make .venv (again, if pyproject.toml changed)
	@scripts/setup

tools: ## install what tests and the demo run (Prometheus, Zipkin, …) where that is possible
	@scripts/install-tools

# Tests of one xdist_group stay in one process: their costly fixture (a demo) is then made once. Those that take longest
# come first (tests/support/order.py), where pytest-xdist would put the largest number of tests.
test: setup tools ## run all tests, or those of TESTS="tests/unit …"; sets everything up first
	$(PYTEST) -n $(PROCESSES) --dist loadgroup --no-loadscope-reorder $(TESTS)

# Processor time is all that these take, so one process for each processor.
test-fast: setup ## run what needs seconds, not servers: with make check, less than two minutes
	$(PYTEST) -n $$(getconf _NPROCESSORS_ONLN) --dist loadgroup --no-loadscope-reorder -m "not slow" \
		--ignore tests/cli/test_cases.py tests/unit tests/cli tests/golden

check: setup ## lint, formatting, types, layers
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

golden: setup tools ## rewrite the golden files; look at the difference before you commit it
	SLOCTL_UPDATE_GOLDEN=1 $(PYTEST) -n $(PROCESSES) $$(grep -rl --include='test_*.py' SLOCTL_UPDATE_GOLDEN tests)

bench: setup ## run the benchmarks
	@for file in benchmarks/bench_*.py; do echo "== $$file"; .venv/bin/python "$$file" || exit 1; done

bench-smoke: setup tools ## run the benchmarks at their smallest size: whether they run, not what they measure
	$(PYTEST) benchmarks/test_smoke.py -n $(PROCESSES)

kubernetes: setup ## validate the generated objects with the schemas of every supported version, not the oldest and newest only
	SLOCTL_KUBERNETES=all $(PYTEST) tests/unit/test_jobs_manifests.py -n $(PROCESSES)

fuzz: setup tools ## run the property tests with many more examples, 2,000 of each (EXAMPLES=20000)
	PYTHONPATH=scripts $(PYTEST) -p fuzz_profile -m hypothesis -n $(PROCESSES)

soak: setup tools ## hours of the scheduler's schedule, compressed, and a week of trouble (FILE=slo.yaml SECONDS=3600)
	@scripts/install-tools soak
	SLOCTL_SOAK=1 $(PYTEST) -n 2 tests/integration/test_jobs_schedule_soak.py tests/integration/test_jobs_schedule_week.py
	[ -z "$(FILE)" ] || .venv/bin/python -m benchmarks.soak $(FILE) $(SECONDS)

proofs: setup tools ## let promtool prove all golden cases, and the guardrails at every limit of the tests
	SLOCTL_PROOFS=all $(PYTEST) tests/integration/test_guardrails_requests.py tests/integration/test_guardrails_platform.py \
		tests/integration/test_alert_rules_gates.py \
		tests/integration/test_guardrails_sidecars.py tests/golden/test_rules_golden.py -n $(PROCESSES)

engines: setup tools ## build VictoriaMetrics, vmalert, Prometheus 3 and Thanos, and try rules and queries on them; writes the table of docs/engines.md
	@scripts/install-tools engines
	SLOCTL_ENGINES=all $(PYTEST) tests/integration/test_engines.py -n $$(getconf _NPROCESSORS_ONLN) --dist loadgroup \
		--junitxml=build/engines.xml
	.venv/bin/python -m tests.support.engine_table build/engines.xml

clickhouse: setup ## install ClickHouse's engine (180 MB, half a gigabyte unpacked), and read and count spans in it
	.venv/bin/python scripts/install.py .venv --group clickhouse
	$(PYTEST) tests/integration/test_backends_traces_clickhouse_engine.py

crash: setup tools ## kill sloctl run slis a thousand times on each database (KILLS=1000), and what posts to Slack
	SLOCTL_CRASH_KILLS=$${KILLS:-1000} $(PYTEST) -s tests/integration/test_ledger_crash.py
	SLOCTL_SLACK_SEEDS=30 $(PYTEST) -n $(PROCESSES) tests/cli/test_slack.py tests/unit/test_posting_slack_deliver.py

image: setup ## do the Dockerfile's steps in a folder, and try what comes of it
	SLOCTL_IMAGE=1 $(PYTEST) tests/integration/test_image.py

lock: setup ## write requirements.lock anew: what the image installs, with hashes
	@scripts/supply-chain lock

sbom: setup ## write build/sbom.json: what the image installs, as CycloneDX
	@scripts/supply-chain sbom

audit: setup ## ask for known vulnerabilities of what the image installs; needs a network
	@scripts/supply-chain audit

docs: setup ## build the site of docs/ with search; a broken link is an error
	@scripts/docs

floors: setup ## run tests with the lowest versions of all dependencies that pyproject.toml allows
	@scripts/floors

matrix: setup ## run the unit tests with every Python that is supported and here
	@scripts/matrix

package: setup ## build wheel and sdist, and try the wheel in an empty environment
	@scripts/package

sizes: setup ## measure what sloctl and each extra take on disk
	@scripts/sizes

# No more than the demo needs, and both at a time.
demo: ## a real Prometheus with 30 days of history, and the whole pipeline on it
	@$(MAKE) --no-print-directory -j2 demo-setup demo-tools
	.venv/bin/sloctl demo

demo-setup:
	@scripts/setup demo

demo-tools:
	@scripts/install-tools demo

bare: ## make demo and make test, each in a minimal Debian of its own (ONLY=demo TESTS="tests/unit …"); as root
	@scripts/bare $(ONLY)
