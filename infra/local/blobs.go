package local

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// blobs implements infra.Blobs and infra.Presigner.
type blobs Store

var (
	_ infra.Blobs     = (*blobs)(nil)
	_ infra.Presigner = (*blobs)(nil)
)

// Put implements infra.Blobs.
func (b *blobs) Put(ctx context.Context, key string, body io.Reader, o infra.PutOptions) (infra.BlobInfo, error) {
	const op = "blobs.Put"
	s := (*Store)(b)
	if err := errors.Join(infra.CheckKey(key), infra.CheckMetadata(o.Metadata)); err != nil {
		return infra.BlobInfo{}, err
	}
	if o.IfAbsent { // spares the writing; the transaction below decides
		if _, err := b.Stat(ctx, key, ""); err == nil {
			return infra.BlobInfo{}, &infra.Error{Op: op, Kind: infra.ErrExists, Key: key}
		}
	}
	file, err := s.writeBlobFile(ctx, body, o.MaxSize)
	if err != nil {
		return infra.BlobInfo{}, failed(op, key, err)
	}
	info := infra.BlobInfo{
		Key: key, Generation: file.generation, Size: file.size, ETag: file.md5, SHA256: file.sha256,
		ContentType: o.ContentType, Metadata: o.Metadata, Modified: s.clock.Now().UTC().Truncate(time.Microsecond),
	}
	if info.ContentType == "" {
		info.ContentType = "application/octet-stream"
	}
	err = s.inTx(ctx, op, key, func(tx *sql.Tx) error { return s.enterBlob(ctx, tx, info, o.IfAbsent) })
	if err != nil {
		// A commit whose answer was lost may have entered it: only a file that no
		// entry names may go. When even that cannot be asked, Tidy decides later.
		if _, staterr := b.Stat(context.WithoutCancel(ctx), key, info.Generation); errors.Is(staterr, infra.ErrNotFound) {
			os.Remove(s.blobPath(info.Generation))
		}
		return infra.BlobInfo{}, err
	}
	return info, nil
}

// enterBlob makes info the key's current generation and queues its notification.
func (s *Store) enterBlob(ctx context.Context, tx *sql.Tx, info infra.BlobInfo, ifAbsent bool) error {
	old, err := tx.ExecContext(ctx, "UPDATE blobs SET current = 0 WHERE key = ? AND current = 1", info.Key)
	if err != nil {
		return err
	}
	if n, err := old.RowsAffected(); err != nil || n > 0 && ifAbsent {
		if err != nil {
			return err
		}
		return &infra.Error{Op: "blobs.Put", Kind: infra.ErrExists, Key: info.Key}
	}
	metadata, err := json.Marshal(info.Metadata)
	if err != nil {
		return err
	}
	res, err := tx.ExecContext(ctx, `INSERT INTO blobs (key, generation, current, size, etag, sha256, content_type, metadata, modified_us)
		VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?)`,
		info.Key, info.Generation, info.Size, info.ETag, info.SHA256, info.ContentType, metadata, info.Modified.UnixMicro())
	if err != nil {
		return err
	}
	seq, err := res.LastInsertId()
	if err != nil || !notified(info.Key) {
		return err
	}
	body, err := objectCreated(info, seq)
	if err != nil {
		return err
	}
	return s.insertMessage(ctx, tx, infra.ObjectQueue, body, 0)
}

const blobColumns = "key, generation, size, etag, sha256, content_type, metadata, modified_us"

// scanBlob reads blobColumns.
func scanBlob(row interface{ Scan(...any) error }) (infra.BlobInfo, error) {
	var info infra.BlobInfo
	var metadata []byte
	var modified int64
	if err := row.Scan(&info.Key, &info.Generation, &info.Size, &info.ETag, &info.SHA256, &info.ContentType, &metadata, &modified); err != nil {
		return info, err
	}
	info.Modified = time.UnixMicro(modified).UTC()
	return info, json.Unmarshal(metadata, &info.Metadata)
}

// Stat implements infra.Blobs.
func (b *blobs) Stat(ctx context.Context, key, generation string) (infra.BlobInfo, error) {
	query, args := "SELECT "+blobColumns+" FROM blobs WHERE key = ? AND current = 1", []any{key}
	if generation != "" {
		query, args = "SELECT "+blobColumns+" FROM blobs WHERE generation = ? AND key = ?", []any{generation, key}
	}
	info, err := scanBlob(b.read.QueryRowContext(ctx, query, args...))
	if err != nil {
		return infra.BlobInfo{}, failed("blobs.Stat", key, err)
	}
	return info, nil
}

// Get implements infra.Blobs.
func (b *blobs) Get(ctx context.Context, key string, o infra.GetOptions) (*infra.Blob, error) {
	const op = "blobs.Get"
	info, err := b.Stat(ctx, key, o.Generation)
	if err != nil {
		return nil, err
	}
	if o.Offset < 0 || o.Length < 0 || o.Offset > 0 && o.Offset >= info.Size {
		return nil, invalid(op, key, "range of %d bytes from %d, the object has %d", o.Length, o.Offset, info.Size)
	}
	length := info.Size - o.Offset
	if o.Length > 0 {
		length = min(length, o.Length)
	}
	f, err := os.Open((*Store)(b).blobPath(info.Generation))
	if errors.Is(err, fs.ErrNotExist) { // deleted since the Stat
		return nil, &infra.Error{Op: op, Kind: infra.ErrNotFound, Key: key}
	}
	if err != nil {
		return nil, failed(op, key, err)
	}
	if _, err := f.Seek(o.Offset, io.SeekStart); err != nil {
		return nil, errors.Join(failed(op, key, err), f.Close())
	}
	return &infra.Blob{BlobInfo: info, Body: &rangeReader{f: f, left: length}}, nil
}

// rangeReader reads left bytes of f and takes an earlier end for the error it is.
type rangeReader struct {
	f    *os.File
	left int64
}

func (r *rangeReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.f.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if err == io.EOF && r.left > 0 {
		err = fmt.Errorf("blob file %s: %w", r.f.Name(), io.ErrUnexpectedEOF)
	}
	return n, err
}

func (r *rangeReader) Close() error { return r.f.Close() }

// Delete implements infra.Blobs. The entries go first: a crash in between leaves
// files without entries, which Tidy removes, never entries without files.
func (b *blobs) Delete(ctx context.Context, key string) error {
	s := (*Store)(b)
	var generations []string
	err := s.inTx(ctx, "blobs.Delete", key, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "DELETE FROM blobs WHERE key = ? RETURNING generation", key)
		if err != nil {
			return err
		}
		generations, err = collect(rows, func(rows *sql.Rows) (g string, err error) { return g, rows.Scan(&g) })
		return err
	})
	if err != nil {
		return err
	}
	for _, g := range generations {
		os.Remove(s.blobPath(g)) // fails where a reader holds it open (Windows): Tidy
	}
	return nil
}

// List implements infra.Blobs.
func (b *blobs) List(ctx context.Context, prefix, after string, limit int) (infra.Page[infra.BlobInfo], error) {
	const op = "blobs.List"
	var page infra.Page[infra.BlobInfo]
	if limit <= 0 || limit > 1000 {
		limit = 1000
	}
	mark := scope("blobs", prefix)
	query, args := "SELECT "+blobColumns+" FROM blobs WHERE current = 1 AND key >= ?", []any{prefix}
	if after != "" {
		c, err := parseCursor(op, after, mark)
		if err != nil {
			return page, err
		}
		query, args = query+" AND key > ?", append(args, string(c.Text))
	}
	if end := prefixEnd(prefix); end != nil {
		// The bound may not be UTF-8, so it is passed as bytes and cast.
		query, args = query+" AND key < CAST(? AS TEXT)", append(args, end)
	}
	rows, err := b.read.QueryContext(ctx, query+" ORDER BY key LIMIT ?", append(args, limit+1)...)
	if err != nil {
		return page, failed(op, prefix, err)
	}
	page.Items, err = collect(rows, func(rows *sql.Rows) (infra.BlobInfo, error) { return scanBlob(rows) })
	if err != nil {
		return infra.Page[infra.BlobInfo]{}, failed(op, prefix, err)
	}
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		page.Next = cursor{Scope: mark, Text: []byte(page.Items[limit-1].Key)}.String()
	}
	return page, nil
}

// collect scans all rows and closes them.
func collect[T any](rows *sql.Rows, scan func(*sql.Rows) (T, error)) ([]T, error) {
	defer rows.Close()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}
