// Package generate draws: text to image, image to image and inpainting over
// one loaded base model, with any number of concepts mounted on it.
//
// A picture is one run of a sampler's plan (package sampler) over the latents
// of one sample, so that memory does not grow with the number of pictures, the
// first is ready while the next is drawn, and picture i of a request is the
// same whatever the number asked for. Guidance evaluates the network on both
// prompts in one batch of two (Ho and Salimans 2022, "Classifier-Free
// Diffusion Guidance").
//
// Drawings of several users may share the evaluations: see [Batch]. That changes
// none of their bytes.
//
// All randomness comes from a [Noise]: by default Philox numbers addressed by
// (seed, picture, draw), so that the same request gives the same bytes.
package generate
