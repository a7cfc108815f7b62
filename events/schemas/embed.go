// Package schemas holds a JSON Schema (draft 2020-12) for each object and message that travels. The
// tests of events hold types and samples to them; /openapi.json shows those of the API.
package schemas

import "embed"

// Files are the schemas, by name: prediction.schema.json.
//
//go:embed *.schema.json
var Files embed.FS
