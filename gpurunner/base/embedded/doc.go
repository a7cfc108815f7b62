// Package embedded is the base model that ships inside the binary: "emoji-64", a Stable Diffusion of 9 million weights
// that draws 64×64 pictures of things as emoji, so that the whole service works with no download. It is a diffusers
// folder in half precision with its card, lowrank.json.
//
// scripts/basemodel made it, and says of what; NOTICE in the repository's root names whose pictures it was trained on.
package embedded
