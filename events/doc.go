// Package events holds the words that travel between lowrank's parts: what a client sends and
// gets, what is stored, and what goes through queues and webhooks. It does no I/O and keeps no
// state, so that every other package may import it.
//
// # Job
//
// A job is the stored record of one prediction or training. It changes only by conditional writes,
// through the pure transitions in transitions.go: starting → processing → succeeded | failed |
// canceled. Everything a retry must repeat the same way (seed, output name, pinned sources) is
// drawn once, when the job is made, and kept in it. A job stays under 100 KB: logs, checkpoints and
// outputs are kept elsewhere.
//
// # Prediction, Training
//
// What clients see of a job: the JSON objects of Replicate's API, every key always present. View
// builds them; nothing else does, so that a webhook carries what GET answers.
//
// # Model, version, base
//
// A model is one of three programs (lora-training, lora-advanced-training, lora) or a concept that
// a user trained. A version is a program on a base model; its schema takes defaults and limits from
// the base's BaseLimits. The schema that is shown in openapi_schema is the one that validates.
//
// # Messages
//
// RunJob (queue), ObjectCreated (store), OutputCreated (bus) and the webhook bodies. Each has a
// JSON Schema in schemas/ and golden samples in samples/, and a test holds type, schema and sample
// together.
package events
