// Package vae is the autoencoder of Stable Diffusion: pictures of H×W×3 in
// [-1,1] to latents of H/8×W/8×4 and back (Rombach et al. 2022). Encoder and
// decoder load separately, so that drawing never reads the encoder's weights.
// Names are those of diffusers' AutoencoderKL.
package vae
