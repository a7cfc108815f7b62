#!/usr/bin/env bash
# Adds up what the image of infra/Dockerfile holds, machine code for GPUs included and the embedded base model not, and fails
# from 100 MB on.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
cubins=gpurunner/device/cuda/kernels/cubin
trap 'rm -rf "$work"' EXIT
compgen -G "$cubins/*.cubin" >/dev/null || trap 'rm -rf "$work" "$cubins"/*.cubin' EXIT
scripts/cuda/build.py --cubins
eval "$(scripts/cuda/fake.sh)"
# As the Dockerfile builds them.
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/gpurunner" ./gpurunner
go build -tags cuda -trimpath -ldflags '-s -w' -o "$work/gpurunner-cuda" ./gpurunner
size() { cat "$@" | wc -c; }
debian=16000000 # gcr.io/distroless/base-nossl-debian12 unpacked, which is some 15 MB
base=$(size $(git ls-files gpurunner/base/embedded/model))
plain=$(size "$work/gpurunner") cuda=$(size "$work/gpurunner-cuda")
sum=$((debian + plain + cuda - 2 * base))
echo "gpurunner $plain, gpurunner-cuda $cuda with $(size $cubins/*.cubin) of machine code, Debian $debian, less the base model twice, $base: $sum bytes"
[ $sum -lt 100000000 ] || { echo "the image without weights is not under 100 MB"; exit 1; }
