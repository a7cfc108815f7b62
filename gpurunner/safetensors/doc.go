// Package safetensors reads and writes the safetensors format, in which base models, adapters and
// embeddings are kept: a JSON header of names, element types, shapes and offsets, followed by the raw
// little-endian numbers.
//
// Reading maps the file into memory: opening a model of gigabytes reads its header only, a tensor's
// pages are read when they are touched and given back by [File.Forget]. The data need not be aligned for
// its type, so nothing here casts bytes to numbers; [Tensor.Float32s] widens, exactly.
//
// The header comes from strangers. Everything in it is checked when the file is opened: lengths, offsets (no
// overlaps, no holes, as the format's own library demands), shapes against lengths, duplicate names. What
// is wrong is said in one sentence that names the file and the tensor; memory use is bounded by the
// file's own size.
//
// Writing streams: tensors are given as bytes or as something that can write itself, so that no second
// copy of a model is held, and the same tensors give the same bytes.
//
// The format: https://github.com/huggingface/safetensors (README, section "Format"). The package knows
// nothing of what the tensors mean: names are the business of lora and base.
package safetensors
