// Package lora is low-rank adaptation (Hu et al. 2021, "LoRA: Low-Rank
// Adaptation of Large Language Models"): a layer W gets a term s·up·down beside
// it, and a file of a few megabytes holds the factors of all layers and the
// embeddings of the concept's words.
//
// # Words
//
// A [Base] is the list of a base model's layers; it is made of configurations
// alone. A [Set] is what one file holds: [Adapter]s, one a layer, and [Token]s.
// A [Mount] is a set with the scale at which it is to apply. A [Vocabulary] is
// the tokens of several sets joined, which prompts are expanded with.
//
// # Files
//
// [Open] and [OpenAny] read every layout of the field, told apart by their
// keys: that of cloneofsimo/lora in both orders of its indices, diffusers and
// PEFT since 0.12, kohya and AUTOMATIC1111, LyCORIS' LoCon, LoHa and LoKr, and
// embeddings of textual inversion, in safetensors, as torch.save wrote them
// before, or in AUTOMATIC1111's pictures. Names are looked up in a table that is made
// from the base's own layers; nothing is guessed from the text of a name. Every
// key that found no layer is listed in [Set.Unused]; a file of which nothing fits
// is an error, as is one whose shapes belong to another base. [Write] writes
// the first three; the same set gives the same bytes.
//
// # Use
//
// [Attach] fills the layers' adapter slots, [Mounted.Release] empties them; the
// base's weights are never touched. [Beside] fills them for a batch of several
// users' samples, each with sets of its own. [NewTrainable] fills them with fresh
// factors in a training slab. [Merge] adds adapters into a copy of the weights, for
// export.
//
// The package knows nothing of prompts' tokenisation, of training steps or of
// where files come from.
package lora
