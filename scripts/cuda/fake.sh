#!/usr/bin/env bash
# Builds the stand-in for the CUDA driver from gpurunner/device/cuda/fake and the kernels' sources, with g++.
#
#     scripts/cuda/fake.sh [FOLDER]     default .cache/cuda/fake
#     scripts/cuda/fake.sh --selftest   whether it catches what it is there to catch
#
# and prints the settings with which go builds and tests the CUDA device on it:
#
#     eval "$(scripts/cuda/fake.sh)"; go test -tags cuda ./gpurunner/device/cuda
#
# KERNELS names another folder of kernel sources (for mutate.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."
selftest=false
if [ "${1:-}" = --selftest ]; then selftest=true; shift; fi
out=$(realpath -m "${1:-.cache/cuda/fake}")
headers=$(python3 scripts/cuda/build.py --headers)
source=gpurunner/device/cuda/fake
kernels=${KERNELS:-gpurunner/device/cuda/kernels}
mkdir -p "$out"
flags=(-std=c++17 -O2 -march=native -ffp-contract=off -fno-math-errno -fPIC -fvisibility=hidden -ftls-model=initial-exec -Wall -Wno-unused -Wno-unknown-pragmas
	-I"$source" -I"$headers" -I"$out" -pthread)

compile() { # OBJECT FROM DEPENDENCIES…: unless it is newer than all it is made of
	local object=$1 from=$2; shift 2
	local made=("$@" scripts/cuda/fake.sh "$source"/*.h)
	if [ -f "$object" ] && [ -z "$(find "${made[@]}" -newer "$object" -print -quit)" ]; then return; fi
	g++ "${flags[@]}" -c -o "$object" "$from"
}

uses() { # FILE: the headers of kernels that it includes
	local h
	for h in $(sed -n 's/^#include "\(.*\.cuh\)"$/\1/p' "$1"); do echo "$kernels/$h"; uses "$kernels/$h"; done
}

objects=()
families=""
for cu in "$kernels"/*.cu; do
	name=$(basename "$cu" .cu)
	families+="FAMILY($name)"$'\n'
	names=$(g++ "${flags[@]}" -x c++ -DLOWRANK_HOST -DLOWRANK_LIST -E "$cu" | grep -oE 'LOWRANK_ENTRY void +[a-z0-9_]+' | awk '{print $3}')
	{
		echo '#define LOWRANK_HOST'
		echo '#include "host.h"'
		echo '#include "registry.h"'
		# Families use the same names for different things, as modules may.
		echo 'namespace {'
		echo "#include \"$(realpath "$cu")\""
		echo '}'
		echo "namespace fake { extern const Named ${name}_kernels[]; const Named ${name}_kernels[] = {"
		for k in $names; do echo "LOWRANK_KERNEL($k)"; done
		echo '{nullptr, nullptr}}; }'
	} >"$out/$name.cc.new"
	cmp -s "$out/$name.cc.new" "$out/$name.cc" || cp "$out/$name.cc.new" "$out/$name.cc"
	objects+=("$out/$name.o")
done
[ -f "$out/families.inc" ] && [ "$families" = "$(cat "$out/families.inc")"$'\n' ] || printf '%s' "$families" >"$out/families.inc"

pids=()
for cu in "$kernels"/*.cu; do
	name=$(basename "$cu" .cu)
	compile "$out/$name.o" "$out/$name.cc" "$cu" $(uses "$cu") &
	pids+=($!)
	if [ ${#pids[@]} -ge 2 ]; then wait "${pids[0]}"; pids=("${pids[@]:1}"); fi
done
for cpp in "$source"/*.cpp; do
	compile "$out/$(basename "$cpp").o" "$cpp" "$cpp" "$out/families.inc"
	objects+=("$out/$(basename "$cpp").o")
done
for p in "${pids[@]}"; do wait "$p"; done

# What the binary imports and nothing makes.
{
	echo '#include <cstdio>'
	while read -r name; do
		[ -z "$name" ] || echo "extern \"C\" __attribute__((visibility(\"default\"))) int $name() { fprintf(stderr, \"fake CUDA: $name is not supported\\n\"); return 801; }"
	done < <(grep -v '^#' "$source/unsupported.txt")
} >"$out/unsupported.cc"
compile "$out/unsupported.o" "$out/unsupported.cc" "$source/unsupported.txt"
objects+=("$out/unsupported.o")

if $selftest; then
	mkdir -p "$out/selftest"
	echo 'FAMILY(selftest)' >"$out/selftest/families.inc"
	parts=()
	for part in driver fibers memory ptx stream; do parts+=("$out/$part.cpp.o"); done
	g++ -I"$out/selftest" -I"$kernels" "${flags[@]}" -o "$out/selftest/run" "$source/selftest/selftest.cpp" "$source/registry.cpp" "${parts[@]}"
	exec "$out/selftest/run"
fi

g++ -shared -pthread -Wl,-soname,libcuda.so.1 -o "$out/libcuda.so.1.new" "${objects[@]}"
mv "$out/libcuda.so.1.new" "$out/libcuda.so.1"
ln -sf libcuda.so.1 "$out/libcuda.so"

cat <<SETTINGS
export CGO_ENABLED=1 CGO_CFLAGS="-O2 -g -I$headers" CGO_LDFLAGS="-L$out" LD_LIBRARY_PATH="$out"
SETTINGS
