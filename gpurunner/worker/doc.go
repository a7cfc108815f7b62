// Package worker is the runner's job loop: it takes messages from one queue,
// holds each job's lease while a [Program] works on it, writes log and progress
// about once a second, and brings the job to its end.
//
// # How a job may end
//
// The program returns nil and the job succeeds with the outputs it put; or an
// error, whose text its owner reads. Three things stop a program from outside by
// ending its context: the job was canceled or deleted, its lease was lost to
// another runner, or the loop itself is told to stop (SIGTERM, a spot notice). In
// the last case the program saves a checkpoint before it returns, the job is
// handed back with a fresh message, and that does not count against it. A runner
// that dies says nothing: the message comes again when its lease is over, and the
// job goes on from its last checkpoint.
//
// Failures of the store are not the job's: what ends a job is tried for as long as
// its lease lasts, and a job that met such a failure is handed back.
//
// # Several jobs at once
//
// A loop that has Together takes up to Most jobs that belong together and runs
// their programs at the same time, each with lease, log, progress and end of its
// own; how they share a device is the programs' business. A job that comes while
// others run joins them, if it may; a job that took down a runner runs alone.
//
// # What it is not
//
// It knows neither adapters nor models. gpurunner/models has the programs, mains
// put both together.
package worker
