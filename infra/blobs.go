package infra

import (
	"context"
	"io"
	"time"
)

// Limits of blobs. They are S3's, so that what works on one adapter works on all.
const (
	MaxKey      = 1024    // bytes of UTF-8 in a blob's key
	MaxMetadata = 2 << 10 // bytes of all names and values of one blob's metadata
)

// Blobs stores objects of any size by key. A key is UTF-8 of 1 to MaxKey bytes,
// slash-separated, as CheckKey says. Memory stays flat whatever the size.
//
// Every completed Put of a key whose prefix is notified (see ObjectQueue) sends
// an S3 event notification; it arrives at least once, only after the object can
// be read, and not for deletes.
type Blobs interface {
	// Put streams body to its end and then makes it the current generation of
	// key, all at once: a reader sees the old one or the whole new one, and if
	// body or the store fails nothing of it is seen. May be called again with a
	// fresh body; that makes one more generation.
	// Errors: ErrExists (IfAbsent and the key is there), ErrInvalid, ErrTooLarge, ErrFull.
	Put(ctx context.Context, key string, body io.Reader, o PutOptions) (BlobInfo, error)

	// Get opens a generation, or a range of it. The caller closes Blob.Body; it
	// fails early, with an error other than io.EOF, if the bytes end too soon.
	// Errors: ErrNotFound (also for a generation that is gone), ErrInvalid (the
	// range begins at or behind the end, and not at 0).
	Get(ctx context.Context, key string, o GetOptions) (*Blob, error)

	// Stat is Get without the bytes. generation "" means the current one.
	Stat(ctx context.Context, key, generation string) (BlobInfo, error)

	// Delete removes key with all its generations. A key that is not there is no
	// error. An open Blob of it may still be read to its end or fail.
	Delete(ctx context.Context, key string) error

	// List returns current generations whose key begins with prefix, in the
	// order of the keys' bytes, at most limit (0: 1000). cursor "" begins, Page.Next
	// goes on; keys written or deleted meanwhile behind the cursor shift nothing.
	// SHA256, ContentType and Metadata may be empty here. Errors: ErrInvalid (cursor).
	List(ctx context.Context, prefix, cursor string, limit int) (Page[BlobInfo], error)
}

// PutOptions say what is stored beside the bytes.
type PutOptions struct {
	ContentType string            // "" is application/octet-stream
	Metadata    map[string]string // names of [a-z0-9-], values of printable ASCII; MaxMetadata in all
	IfAbsent    bool              // refuse with ErrExists when the key has a current generation
	MaxSize     int64             // if > 0, refuse with ErrTooLarge beyond this many bytes
}

// GetOptions choose a generation and a range.
type GetOptions struct {
	Generation string // "" is the current one
	Offset     int64  // first byte, from 0
	Length     int64  // bytes wanted, fewer at the object's end; 0 is to the end
}

// BlobInfo describes one generation of a blob.
type BlobInfo struct {
	Key         string
	Generation  string // names this content of this key for ever; an S3 version id
	Size        int64  // bytes
	ETag        string // as S3 writes it in events: without quotes
	SHA256      string // hex; always set by Put, elsewhere "" where the store does not keep it (S3: presigned PUTs)
	ContentType string
	Metadata    map[string]string
	Modified    time.Time
}

// Blob is an open generation. Size is the whole object's, not the range's.
type Blob struct {
	BlobInfo
	Body io.ReadCloser
}

// Presigner makes URLs by which a client without a token may write one object.
type Presigner interface {
	// PresignPut returns a URL that accepts PUTs of key, any number of them,
	// until ttl (at most 7 days) has passed: each makes a new generation and a
	// notification. A URL that is expired, altered or used for another key or
	// method answers 403. Bodies over maxSize (0: no limit) are refused with 413
	// where the store can judge it; S3 cannot, so the notification's receiver
	// judges too. May be called again.
	PresignPut(ctx context.Context, key string, ttl time.Duration, maxSize int64) (url string, err error)
}

// WithPublicURL tells PresignPut which base URL ("https://host:port", no slash at
// the end) this client reaches the service by. Adapters whose store has an
// address of its own (S3) ignore it.
func WithPublicURL(ctx context.Context, base string) context.Context {
	return context.WithValue(ctx, publicURL{}, base)
}

// PublicURL is what WithPublicURL said, or "".
func PublicURL(ctx context.Context) string {
	base, _ := ctx.Value(publicURL{}).(string)
	return base
}

type publicURL struct{}

// Page is one page of a list. Next is the cursor of the following page, "" at the end.
type Page[T any] struct {
	Items []T
	Next  string
}
