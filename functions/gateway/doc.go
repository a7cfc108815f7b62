// Package gateway stands between Lambda and the handlers: it turns API Gateway's
// events into requests, queues' and streams' events into calls, and wires the API
// to a deployment's resources. The mains beside it (functions/upload, submit, …)
// are a line or two over it.
//
// # Limits of the platform
//
// A Lambda takes and gives 6 MB and API Gateway waits 30 s, so here `Prefer: wait`
// answers by 25 s, there are no streams, larger bodies are refused with a hint to
// POST /v1/upload, and outputs and uploads are served by the content network
// straight from the bucket. An answer that would be too large is compressed.
//
// It holds no logic of the service.
package gateway
