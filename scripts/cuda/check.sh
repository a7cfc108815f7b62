#!/usr/bin/env bash
# Everything that can be shown of the CUDA device without a GPU, for CI:
# the embedded PTX is what its sources compile to, the fake driver catches faults, and on it pass the device's
# conformance and comparison tests and the engine's parity tests; and a flipped operator in a kernel is seen.
set -euo pipefail
cd "$(dirname "$0")/../.."
export LOWRANK_REQUIRE=${LOWRANK_REQUIRE:+$LOWRANK_REQUIRE,}cuda

go test -count=1 ./gpurunner/device/cuda/...
eval "$(scripts/cuda/fake.sh)"
scripts/cuda/fake.sh --selftest
go vet -tags cuda ./gpurunner/... ./scripts/cuda ./scripts/gpucheck ./scripts/lowrank
go test -count=1 -tags cuda ./gpurunner/device/cuda
# The programs, and gpucheck on the small base.
go test -count=1 -tags cuda ./gpurunner/device/pick ./scripts/cuda ./scripts/gpucheck
# The engine on the fake driver, on the expected numbers that are in the repository. Tests of devices come by these names.
go test -count=1 -tags cuda -run 'Parity|TestGradients|TestReplay' ./gpurunner/{autodiff,clip,unet,vae,lora,generate,train}
scripts/cuda/mutate.sh
