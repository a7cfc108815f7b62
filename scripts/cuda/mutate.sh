#!/usr/bin/env bash
# Flips one operator in each of a few kernels, and leaves out a barrier, rebuilds the fake driver with it, and wants the device's tests to fail:
# that they run the kernels' own sources, and see what those compute. With a WORD, those mutants alone that have it.
set -euo pipefail
cd "$(dirname "$0")/../.."
eval "$(scripts/cuda/fake.sh)"
built=$LD_LIBRARY_PATH
work=$(realpath -m .cache/cuda/mutant)
mkdir -p "$work"
go test -c -tags cuda -o "$work/cuda.test" ./gpurunner/device/cuda

# FILE | what is there, once | what takes its place | the test that must see it
mutants=(
	'products.cu|part[i][j] = fmaf(x[i], w[j], part[i][j])|part[i][j] = fmaf(x[i], -w[j], part[i][j])|TestDevice/Linear$'
	'products.cu|__syncthreads(); // the tiles of the step before have been read|;|TestDevice/Linear$'
	'attention.cu|total[r] = total[r] * fade + warp_sum(p)|total[r] = total[r] * fade - warp_sum(p)|TestDevice/Attention$'
	'norms.cu|squares += (double)p[channels] + off * off * rows|squares += (double)p[channels] - off * off * rows|TestDevice/GroupNorm$'
	'training.cu|p[i] = s.keep * p[i] - s.rate|p[i] = s.keep * p[i] + s.rate|TestDevice/AdamW$'
	'elementwise.cu|(d * hidden) * gelu_slope32(gate)|(d + hidden) * gelu_slope32(gate)|TestDevice/GEGLU$'
	'mma_products.cuh|now ^= 1|now ^= 0|TestHalfProducts'
	'mma_attention.cu|(dp[j][r] - dot[r / 2]) * scale : 0|(dp[j][r] + dot[r / 2]) * scale : 0|TestHalfAttention'
)

survived=0
for m in "${mutants[@]}"; do
	[[ $m == *"${1:-}"* ]] || continue
	IFS='|' read -r file from to test <<<"$m"
	rm -rf "$work/kernels"
	cp -a gpurunner/device/cuda/kernels "$work/kernels"
	cp -a "$built/." "$work/fake"
	python3 - "$work/kernels/$file" "$from" "$to" <<'PYTHON'
import pathlib, sys
path, old, new = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
text = path.read_text()
if text.count(old) != 1:
    sys.exit(f"{path.name}: {old!r} is there {text.count(old)} times, want once: mend scripts/cuda/mutate.sh")
path.write_text(text.replace(old, new))
PYTHON
	KERNELS="$work/kernels" scripts/cuda/fake.sh "$work/fake" >/dev/null
	if (cd gpurunner/device/cuda && LD_LIBRARY_PATH="$work/fake" "$work/cuda.test" -test.run "$test") >"$work/log" 2>&1; then
		echo "SURVIVED: $file with \"$to\" passes $test"
		survived=1
	elif ! grep -q -- '--- FAIL' "$work/log"; then
		echo "$file with \"$to\": $test did not fail as a test does:"; tail -n 5 "$work/log"
		survived=1
	else
		echo "seen: $file, $test"
	fi
done
exit $survived
