#!/usr/bin/env bash
# Packs gpucheck with the device's tests for a machine that has an NVIDIA GPU and its driver, and no Go:
#
#     scripts/gpucheck/build.sh [gpucheck.tar.gz]
#     …carry it there…
#     tar xf gpucheck.tar.gz && gpucheck/gpucheck -out .
set -euo pipefail
out=$(realpath -m "${1:-gpucheck.tar.gz}")
cd "$(dirname "$0")/../.."
scripts/cuda/build.py --cubins >/dev/null # so that the driver need not compile, which takes it the better part of a minute
eval "$(scripts/cuda/fake.sh)" # only to link with: the driver's own library takes its place
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/gpucheck"
go build -tags cuda -trimpath -o "$work/gpucheck/gpucheck" ./scripts/gpucheck
go test -c -tags cuda -trimpath -o "$work/gpucheck/cuda.test" ./gpurunner/device/cuda
tar -C "$work" -czf "$out" gpucheck
echo "$out"
