// Package unet is the denoiser of Stable Diffusion: a U-shaped network of
// residual blocks and transformers with cross-attention to the prompt
// (Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion
// Models"; SDXL: Podell et al. 2023). Its parts and their names are those of
// diffusers' UNet2DConditionModel, so that weights and adapters find their
// places; it reads the configurations of SD 1.x, 2.x, inpainting and SDXL.
package unet
