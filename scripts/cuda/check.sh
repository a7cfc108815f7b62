#!/usr/bin/env bash
# Everything that can be shown of the CUDA device without a GPU, for CI: it needs Go, g++ and Python 3 with pip, and installs the
# compiler at pinned hashes itself. Each part says how long it took.
set -euo pipefail
cd "$(dirname "$0")/../.."
export LOWRANK_REQUIRE=${LOWRANK_REQUIRE:+$LOWRANK_REQUIRE,}cuda

part() { # WHAT COMMAND…
	local begun=$SECONDS what=$1; shift
	echo "=== $what"
	"$@"
	echo "--- $what: $((SECONDS - begun)) s"
}

fake() { scripts/cuda/fake.sh >/dev/null; }

ptx() { go test -count=1 ./gpurunner/device/cuda/...; }

# The engine's parity tests: whatever runs on every device, on the expected numbers in the repository and on the full set where
# there is one (LOWRANK_PARITY, ../shared). Their names come from the sources, so that none is left out.
parity() {
	local folder names log rc=0
	log=$(mktemp)
	while read -r folder names; do
		go test -count=1 -tags cuda -timeout 60m -v -run "^($names)\$" "./$folder" >"$log" 2>&1 || rc=1
		echo "$folder ($names): $(grep -c -- '--- PASS' "$log") passed, $(grep -c -- '--- FAIL' "$log") failed, $(grep -c -- '--- SKIP' "$log") left out"
		[ $rc = 0 ] || { tail -n 60 "$log"; break; }
		grep -q -- '--- PASS: .*/cuda' "$log" || { echo "$folder: nothing ran on the CUDA device"; rc=1; break; }
	done < <(git ls-files --cached --others --exclude-standard 'gpurunner/*_test.go' | xargs awk '
		FNR == 1 { name = "" }
		/^func Test/ { name = $2; sub(/\(.*/, "", name) }
		/enginetest\.Each\(/ { folder = FILENAME; sub(/\/[^\/]*$/, "", folder); tests[folder] = tests[folder] "|" name }
		END { for (f in tests) print f, substr(tests[f], 2) }' | sort)
	rm -f "$log"
	return $rc
}

part "the embedded PTX is what its sources compile to, for driver 530, without atomics" ptx
part "the fake driver" fake
eval "$(scripts/cuda/fake.sh)"
part "it catches what it should" scripts/cuda/fake.sh --selftest
part "vet" go vet -tags cuda ./gpurunner/... ./scripts/cuda ./scripts/gpucheck ./scripts/lowrank
# Shared memory is full of NaN here, so that what a block reads of it and has not written shows.
part "every kernel beside the processor, faults, replays, a training run" env FAKE_CUDA_SPOIL=1 go test -count=1 -timeout 30m -tags cuda ./gpurunner/device/cuda
part "the programs, and gpucheck on the small base" go test -count=1 -timeout 30m -tags cuda ./gpurunner/device/pick ./scripts/cuda ./scripts/gpucheck
part "the engine's parity tests" parity
part "flipped operators are seen" scripts/cuda/mutate.sh
part "the image is under 100 MB without weights" scripts/cuda/size.sh
echo "all of it: $SECONDS s"
