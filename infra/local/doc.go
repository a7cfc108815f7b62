// Package local makes the ports of infra real with one folder on one machine:
// SQLite (in write-ahead mode) for records, queues, changes and documents, files
// for blobs. `lowrank serve`, its runners and `lowrank token` open the same
// folder at the same time, each in its own process.
//
//	DIR/lowrank.db      everything small, and the list of blobs
//	DIR/blobs/ab/abcd…  one file per generation of a blob, never changed once named
//	DIR/blobs/tmp/      uploads under way
//	DIR/serve.lock      held by the one `serve`
//
// What a call answered survives kill -9 and, as far as the disk keeps its word,
// a power cut: blobs are written beside, synced, renamed, the folder synced, and
// only then entered in the database; a message about an object is written in the
// transaction that makes the object visible. Files that a crash left without an
// entry are removed by Tidy a day later.
//
// It is not a server: UploadHandler answers presigned PUTs, the rest is calls.
package local
