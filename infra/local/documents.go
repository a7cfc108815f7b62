package local

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/lowrank/lowrank/infra"
)

// documents implements infra.Documents. Keys are stored as bytes: in SQLite text
// may not hold a NUL.
type documents Store

var _ infra.Documents = (*documents)(nil)

// Get implements infra.Documents.
func (d *documents) Get(ctx context.Context, collection, key string) (infra.Document, error) {
	doc := infra.Document{Collection: collection, Key: key}
	var value []byte
	err := row(ctx, d.st.document, []any{collection, []byte(key)}, &doc.Version, &value)
	if err != nil {
		return infra.Document{}, failed("documents.Get", collection, err)
	}
	doc.Value = value
	return doc, nil
}

// Put implements infra.Documents.
func (d *documents) Put(ctx context.Context, doc infra.Document) (infra.Document, error) {
	const op = "documents.Put"
	switch {
	case doc.Collection == "" || len(doc.Collection) > infra.MaxCollection || !utf8.ValidString(doc.Collection):
		return infra.Document{}, invalid(op, doc.Collection, "a collection's name has 1 to %d bytes of UTF-8", infra.MaxCollection)
	case doc.Key == "" || len(doc.Key) > infra.MaxKey || !utf8.ValidString(doc.Key):
		return infra.Document{}, invalid(op, doc.Collection, "a key has 1 to %d bytes of UTF-8", infra.MaxKey)
	case len(doc.Value) > infra.MaxPayload:
		return infra.Document{}, tooLarge(op, doc.Collection, int64(len(doc.Value)), infra.MaxPayload)
	case !json.Valid(doc.Value):
		return infra.Document{}, invalid(op, doc.Collection, "the value is not JSON")
	}
	err := (*Store)(d).inTx(ctx, op, doc.Collection, func(tx *sql.Tx) error {
		version, err := d.expect(ctx, tx, op, doc.Collection, doc.Key, doc.Version)
		if err != nil {
			return err
		}
		doc.Version = version + 1
		_, err = tx.ExecContext(ctx, `INSERT INTO documents (collection, key, version, value) VALUES (?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET version = excluded.version, value = excluded.value`,
			doc.Collection, []byte(doc.Key), doc.Version, []byte(doc.Value))
		return err
	})
	if err != nil {
		return infra.Document{}, err
	}
	return doc, nil
}

// expect returns the version there is, 0 for none, or ErrConflict unless it is want.
func (d *documents) expect(ctx context.Context, tx *sql.Tx, op, collection, key string, want int64) (version int64, err error) {
	err = tx.QueryRowContext(ctx, "SELECT version FROM documents WHERE collection = ? AND key = ?", collection, []byte(key)).Scan(&version)
	if err != nil && err != sql.ErrNoRows {
		return 0, err
	}
	if want != infra.AnyVersion && want != version {
		return 0, &infra.Error{Op: op, Kind: infra.ErrConflict, Key: collection, Err: fmt.Errorf("version %d, expected %d", version, want)}
	}
	return version, nil
}

// Delete implements infra.Documents.
func (d *documents) Delete(ctx context.Context, collection, key string, version int64) error {
	const op = "documents.Delete"
	return (*Store)(d).inTx(ctx, op, collection, func(tx *sql.Tx) error {
		there, err := d.expect(ctx, tx, op, collection, key, infra.AnyVersion)
		if err != nil || there == 0 {
			return err
		}
		if _, err := d.expect(ctx, tx, op, collection, key, version); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM documents WHERE collection = ? AND key = ?", collection, []byte(key))
		return err
	})
}

// List implements infra.Documents.
func (d *documents) List(ctx context.Context, collection, prefix string, o infra.ListOptions) (infra.Page[infra.Document], error) {
	const op = "documents.List"
	var page infra.Page[infra.Document]
	limit := pageLimit(o.Limit)
	order, beyond := "", ">"
	if o.Reverse {
		order, beyond = " DESC", "<"
	}
	mark := scope("documents", collection, prefix, beyond)
	query, args := "SELECT key, version, value FROM documents WHERE collection = ? AND key >= ?", []any{collection, []byte(prefix)}
	if end := prefixEnd(prefix); end != nil {
		query, args = query+" AND key < ?", append(args, end)
	}
	if o.Cursor != "" {
		c, err := parseCursor(op, o.Cursor, mark)
		if err != nil {
			return page, err
		}
		query, args = query+" AND key "+beyond+" ?", append(args, c.Text)
	}
	rows, err := d.read.QueryContext(ctx, query+" ORDER BY key"+order+" LIMIT ?", append(args, limit+1)...)
	if err != nil {
		return page, failed(op, collection, err)
	}
	page.Items, err = collect(rows, func(rows *sql.Rows) (infra.Document, error) {
		doc := infra.Document{Collection: collection}
		var key, value []byte
		err := rows.Scan(&key, &doc.Version, &value)
		doc.Key, doc.Value = string(key), value
		return doc, err
	})
	if err != nil {
		return infra.Page[infra.Document]{}, failed(op, collection, err)
	}
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		page.Next = cursor{Scope: mark, Text: []byte(page.Items[limit-1].Key)}.String()
	}
	return page, nil
}
