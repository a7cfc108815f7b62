// Package registry keeps what is not a job, as small documents over infra.Documents: tokens (their
// hashes only), uploads, files, models that users made with their versions, and the secrets that sign
// webhooks. Everything but uploads and tokens lies in its owner's collections, so that a look with
// the wrong owner finds nothing.
//
// Collections and keys:
//
//	tokens             SHA-256 of the token            → Token
//	uploads            upload token                    → Upload
//	files/{owner}      file id, which sorts by time    → File
//	models/{owner}     owner/name                      → Model
//	versions/{owner}   version id                      → Version
//	secrets            owner                           → the webhook secret
//	deliveries         job id                          → how far its webhooks are (functions/notify)
package registry
