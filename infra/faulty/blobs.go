package faulty

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"

	"github.com/lowrank/lowrank/infra"
)

type blobs struct {
	to infra.Blobs
	f  *Faults
}

func (b *blobs) Put(ctx context.Context, key string, body io.Reader, o infra.PutOptions) (infra.BlobInfo, error) {
	const op = "blobs.Put"
	what, r := b.f.draw(op)
	switch what {
	case twice: // needs the body twice, which fits into a test's memory
		all, err := io.ReadAll(body)
		if err != nil {
			return b.to.Put(ctx, key, io.MultiReader(bytes.NewReader(all), failing{err}), o)
		}
		return meet(ctx, b.f, what, r, op, func() (infra.BlobInfo, error) { return b.to.Put(ctx, key, bytes.NewReader(all), o) })
	case breakBody: // the store sees a body that breaks off, and must keep nothing of it
		return b.to.Put(ctx, key, broken(body, r, op), o)
	}
	return meet(ctx, b.f, what, r, op, func() (infra.BlobInfo, error) { return b.to.Put(ctx, key, body, o) })
}

func (b *blobs) Get(ctx context.Context, key string, o infra.GetOptions) (*infra.Blob, error) {
	const op = "blobs.Get"
	what, r := b.f.draw(op)
	get := func() (*infra.Blob, error) { return b.to.Get(ctx, key, o) }
	switch what {
	case failAfter, twice: // whoever lost an answer cannot close it
		if lost, err := get(); err == nil {
			lost.Body.Close()
		}
		if what == failAfter {
			return nil, unavailable(op)
		}
		what = none
	case breakBody:
		blob, err := get()
		if err != nil {
			return nil, err
		}
		blob.Body = struct {
			io.Reader
			io.Closer
		}{broken(blob.Body, r, op), blob.Body}
		return blob, nil
	}
	return meet(ctx, b.f, what, r, op, get)
}

func (b *blobs) Stat(ctx context.Context, key, generation string) (infra.BlobInfo, error) {
	return call(ctx, b.f, "blobs.Stat", func() (infra.BlobInfo, error) { return b.to.Stat(ctx, key, generation) })
}

func (b *blobs) Delete(ctx context.Context, key string) error {
	return act(ctx, b.f, "blobs.Delete", func() error { return b.to.Delete(ctx, key) })
}

func (b *blobs) List(ctx context.Context, prefix, cursor string, limit int) (infra.Page[infra.BlobInfo], error) {
	return call(ctx, b.f, "blobs.List", func() (infra.Page[infra.BlobInfo], error) { return b.to.List(ctx, prefix, cursor, limit) })
}

// broken passes on fewer bytes than r has (often none, at most 64 KiB) and then fails.
func broken(body io.Reader, r *rand.Rand, op string) io.Reader {
	return io.MultiReader(io.LimitReader(body, r.Int64N(64<<10)*r.Int64N(2)), failing{unavailable(op)})
}

// failing is a reader of one error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
