#!/bin/sh
# Picks the part of the expected numbers that is committed, so that a lone clone tests every class, and packs it
# into gpurunner/paritytest/testdata:
#
#   scripts/parity/subset.sh FOLDER-WITH-THE-FULL-SET
#
# Random float32 weights hardly compress, so the choice is by what each file alone shows: sd15-tiny whole, the same
# weights as one CompVis file, and sdxl-tiny for everything that SD 2.1 has too (linear projections, a list of
# heads, gelu) and more. sd21-tiny, inpainting, fp16 and the old VAE names are in the full set only.
set -eu

full=${1:?usage: subset.sh FOLDER-WITH-THE-FULL-SET}
here=$(cd "$(dirname "$0")" && pwd)
out=$here/../../gpurunner/paritytest/testdata
limit=5000000

[ -d "$full/models" ] || { echo "subset.sh: $full holds no models/ folder" >&2; exit 1; }
full=$(cd "$full" && pwd)
new=$out.new
rm -rf "$new"
mkdir -p "$new"

pick() { # files or folders, as patterns below the full set
	for pattern in "$@"; do
		found=no
		for path in $(cd "$full" && find . -type f -path "./$pattern" | sort); do
			found=yes
			mkdir -p "$new/$(dirname "$path")"
			# Packed where that saves a tenth; small configurations stay readable.
			size=$(wc -c <"$full/$path")
			gzip -n -9 -c "$full/$path" >"$new/$path.gz"
			packed=$(wc -c <"$new/$path.gz")
			if [ "$size" -lt 2000 ] || [ $((packed * 10)) -gt $((size * 9)) ] && [ "${path%.safetensors}" = "$path" ]; then
				rm "$new/$path.gz"
				cp "$full/$path" "$new/$path"
				chmod 644 "$new/$path"
			fi
		done
		[ $found = yes ] || { echo "subset.sh: nothing matches $pattern" >&2; exit 1; }
	done
}

pick variant.json
pick 'models/sd15-tiny/*' 'models/sd15-tiny-single/*' 'models/sdxl-tiny/*'
pick 'clip/sd15-tiny.*' 'clip/sdxl-tiny.text_encoder_2.*'
pick 'unet/sd15-tiny.b1.*' 'unet/sd15-tiny.odd_multiple_of_4.*' 'unet/sdxl-tiny.b2_nonsquare.*'
pick 'vae/sd15-tiny.sq.*' 'vae/sdxl-tiny.b2_nonsquare.*'
pick 'grad/ops.*' 'grad/sd15-tiny.*'
pick 'schedulers/*'
pick 'pipelines/txt2img.sd15-tiny.*' 'pipelines/txt2img.sdxl-tiny.*' 'pipelines/img2img.sd15-tiny.ddim.*' 'pipelines/inpaint.sd15-tiny.*'
pick 'pipelines/original/txt2img.sd15-tiny.dpmpp_2m.*' 'pipelines/original/img2img.sd15-tiny.lms.*' 'pipelines/original/inpaint_legacy.sd15-tiny.*'
pick 'lora/lora_*' 'lora/targets.json' 'lora/effect.*' 'lora/join.*' 'lora/facts.json' 'lora/diffusers_a/*' 'lora/kohya_a.*' 'lora/learned_embeds_a.*'
pick 'train/images.zip' 'train/masks.zip' 'train/face/*'
pick 'imageops/*'

total=$(find "$new" -type f -exec cat {} + | wc -c)
if [ "$total" -gt $limit ]; then
	echo "subset.sh: $total bytes, above the limit of $limit" >&2
	exit 1
fi
rm -rf "$out"
mv "$new" "$out"
echo "$total bytes in $(find "$out" -type f | wc -l) files"
