// Package diffusion is one base model's networks on a device: the text
// encoders with their tokenizers, the UNet, and the two halves of the
// autoencoder. Package generate draws with them and package train teaches
// them; both encode prompts here.
//
// Networks load when first asked for and can be released one by one: drawing
// never reads the autoencoder's encoder, training never its decoder.
package diffusion
