// Package predictions keeps jobs: it turns events.Job into records of infra.Jobs and back, and does
// every change of a job as a loop of read, pure transition, conditional write. Handlers
// (functions/) and runners (gpurunner/) both go through it, so that the rules stand once.
//
// A handler makes jobs (Create, Enqueue), shows them (Load, View) and ends them (Cancel, Remove). A
// runner begins with Start, which gives it a Run: the right to write one job while its lease lasts.
// All that a Run writes is fenced by that lease: a runner that was thought dead writes nothing.
//
// # The life of a message
//
// A job's message may come twice or after the job has ended. The runner asks Start and then
//
//   - acknowledges it on events.ErrTerminal (the job has ended), events.ErrLeased (another runner has
//     it; a message for the end of its lease is under way), events.ErrWaiting (for an upload, whose
//     arrival sends one) and infra.ErrNotFound (deleted);
//   - leaves it on ErrGivenUp (the job took down too many runners), so that it becomes a dead letter,
//     and on any other error, so that it comes again;
//   - keeps it leased while it works, and acknowledges it after Succeed, Fail or HandBack;
//   - leaves it when it crashes: it comes back (at once, where somebody saw it: Forsake), and after infra.MaxReceives deaths it is a dead letter.
//
// A dead letter is no verdict: the job's own count of leases that ran out is. The sweep sends another
// message for a job whose message died otherwise.
//
// # What it is not
//
// It knows nothing of HTTP and nothing of what a job computes. infra/registry keeps models, files,
// uploads and tokens.
package predictions
