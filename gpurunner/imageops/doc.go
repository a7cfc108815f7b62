// Package imageops reads pictures and resizes, crops, flips and jitters them on bytes, to the bit as the pipelines
// do that people's models were trained with: Pillow's conversion, antialiased resampling and enhancement. A
// training set that differs in its last bits trains another file.
//
// A Picture is RGB bytes, [H,W,3]. Decode takes JPEG, PNG and WebP, looks at the size before it allocates, turns
// the picture upright by its EXIF orientation, and drops an alpha channel. Options.Original leaves the picture as it lies
// and saturates 16-bit grey, as the original trainer's stack did.
//
// JPEG and WebP store colour at half resolution; the standard library repeats such samples. Here they are interpolated as
// libjpeg and libwebp do by default, without which edges differ from Pillow's by dozens of levels.
//
// It knows nothing of zip files and captions (train's), of latents (vae's) or of drawing.
package imageops
