// Package base opens base models: the diffusers folders of Stable Diffusion 1.x, 2.x, inpainting and XL, single-file
// checkpoints of 1.x, and the small model that ships inside the binary.
//
// A [Base] gives a model's parts under diffusers' names, whatever they are stored as: configurations, tokenizers, and
// weights, which are mapped when they are first asked for. It is what package diffusion loads its networks from, and
// knows nothing of how they compute.
//
// A [Card] says what a model is good for: its kind, the sizes it draws, what to draw with and how to train it when
// nobody says otherwise, and the SHA-256 of its weights. What a card leaves open follows from the model's own
// configuration. A folder's card is lowrank.json inside it, a single file's is NAME.json beside it; both are optional.
//
// Only safetensors is read. Pickles (.ckpt, .bin, .pt) can run code when they are opened; the errors say how to
// convert them.
package base
