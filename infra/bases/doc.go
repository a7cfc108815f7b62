// Package bases keeps base models in a deployment's store: their weights as blobs,
// named by their SHA-256 so that the same file is stored once, and a document a
// base that says what the API must know of it (its limits) and what a runner must
// fetch.
//
// `lowrank base add --aws` adds one; functions make their catalogue of what is
// there; runners fetch what a job names, in parallel ranges, check it, and keep it.
// A base that ships inside the runner has no files: the runner registers it when it
// starts.
//
// It knows nothing of what is in the files: gpurunner/base does.
package bases
