# What CI runs, by the same names (.ci/run). "make check" before a commit.
#
#   FLAGS=-v          more flags for go test
#   FUZZTIME=1m       for each fuzz target
#   BENCH=Parse       which benchmarks, a regular expression

FLAGS    ?=
FUZZTIME ?= 4s
BENCH    ?= .

# The race detector costs ten times the CPU, so it runs where goroutines meet.
# The other packages compute: nothing in them is shared.
serial := roomserver/event roomserver/auth roomserver/stateres internal/fault internal/spectest config
racing  = $(filter-out $(addprefix entente/,$(serial)) entente,$(shell go list ./...))

.PHONY: build test race fuzz lint bench coverage docs js check clean

build: ## the binary ./entente
	go build -o entente ./cmd/entente

test: ## every test that this machine can run
	go test $(FLAGS) ./...

race: ## the tests of what is concurrent, with the race detector
	go test -race $(FLAGS) $(racing)

fuzz: ## each fuzz target for FUZZTIME
	@set -e; grep -r --include='*_test.go' '^func Fuzz' . | sed -E 's|^(\./.*)/[^/]*:func (Fuzz[A-Za-z0-9_]*).*|\1 \2|' | sort | \
	while read -r dir target; do \
	  echo "fuzz $$dir $$target"; \
	  go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$dir; \
	done

lint: ## go vet, staticcheck, gofmt, and the layout and style of the house
	go vet ./...
	go tool staticcheck ./...
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt -w" $$unformatted; exit 1; fi
	go test -run 'Arrows|Style|Citations' .

bench: ## the benchmarks, as docs/performance.md and the decisions quote them
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

coverage: ## coverage.html: which lines the tests reach
	go test -coverpkg ./... -coverprofile coverage.out ./...
	go tool cover -html coverage.out -o coverage.html
	go tool cover -func coverage.out | tail -n 1

docs: ## the generated pages; docs/spec-coverage.md needs MATRIX_SPEC_DIR
	go run ./cmd/entente config reference > docs/configuration.md
	UPDATE_SPEC_COVERAGE=1 go test -run Coverage .

js: ## what the tests with matrix-js-sdk need, in internal/e2e/jssdk
	npm ci --prefix internal/e2e/jssdk --no-audit --no-fund --ignore-scripts

check: lint test race fuzz ## everything, before a commit

clean:
	rm -rf entente coverage.out coverage.html internal/e2e/jssdk/node_modules
