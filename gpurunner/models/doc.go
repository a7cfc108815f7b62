// Package models is the catalogue from the runner's side: for each program of
// events (lora-training, lora-advanced-training, lora) the function that runs it
// on the engine, as a worker.Program.
//
// An [Engine] keeps one base model loaded, and the concepts that were drawn with
// last; a job for another base loads that one in its place. Mounting a concept
// never touches the base, so there is no cold boot, and drawings with different
// concepts are evaluated together.
package models
