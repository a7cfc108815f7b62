// Package api is the HTTP API: Replicate's, so that its Python and JavaScript clients work unchanged
// but for the base URL, and POST /v1/upload/{filename} beside it. It is one http.Handler over the
// ports; the embedded server and the Lambdas mount the same one.
//
// A file is a resource: predictions.go, trainings.go, models.go, files.go, uploads.go, … Each handler
// returns an error instead of writing one; server.go writes it as application/problem+json, errors.go
// says which is which. Every read and write is scoped to the owner of the token; only outputs,
// uploads and streams, whose URLs nobody guesses, are served without one.
//
// The order within a request is always: method, token, size, form, meaning, limits; so that a
// stranger learns nothing and a refused request changes nothing. Inputs of refused requests are
// neither logged nor repeated in the answer.
//
// It runs no job and sends no webhook: gpurunner and functions/notify do.
package api
