// Package clip is the text encoder of Stable Diffusion: the text tower of CLIP
// (Radford et al. 2021, "Learning Transferable Visual Models From Natural
// Language Supervision"), a causal transformer over 77 tokens.
//
// SD 1.x and 2.x take the last hidden state after the final norm; SDXL takes
// the last but one of two encoders, without it, and the second one's projected
// pooled state. The vocabulary's table stays in its file: a prompt uploads 77
// rows. Rows of placeholder tokens, trained or loaded, lie in a small table
// beside it, with ids from the vocabulary's size on.
package clip
