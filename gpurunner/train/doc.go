// Package train teaches a base model a concept, as cloneofsimo/lora did in
// February 2023: pivotal tuning inversion. Phase one, inversion, finds embeddings
// for placeholder tokens (textual inversion, Gal et al. 2022); phase two, tuning,
// trains low-rank matrices beside the attention and GEGLU projections of UNet and
// text encoder (LoRA, Hu et al. 2021).
//
// # How it fits
//
// [Options] are the inputs of the trainers, [Preset] and [Advanced] their
// defaults. A [Trainer] takes a [Model] and a data set and runs to a [Result],
// which package lora writes. One function, [Step.Run], computes a loss and its
// gradients; the trainer, the replay of recorded runs and the gradient tests all
// call it.
//
// # What is kept of the original, and what is not
//
// Kept, since it is what the numbers of its presets mean: inversion updates when
// step mod accumulation is 0, so its first update sees one batch; a schedule
// advances before the update; tuning draws timesteps below 0.8 of the whole, does
// not accumulate, and clips gradients to norm 1; scale_lr multiplies the rates by
// accumulation times batch size; the norm of an embedding is pulled towards 0.4;
// dropout and scale act on the UNet's adapters only.
//
// Mended: the gradient that inversion leaves behind does not count in tuning's
// clipping (reproduced under [Trainer.Compat]); captions and mirroring are seeded;
// masks are not colour-jittered; nothing is dropped while drawing.
//
// # Same job, same bytes
//
// Every random number is addressed by (seed, stream, step, micro-step), see
// random.go, and nothing depends on time or on the number of cores. So a run
// that was killed and goes on from its checkpoint ends with the bytes of one that
// was not.
package train
