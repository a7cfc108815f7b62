package local

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"

	"github.com/lowrank/lowrank/infra"
)

// logs implements infra.Logs, one row a chunk.
type logs Store

var _ infra.Logs = (*logs)(nil)

// Append implements infra.Logs.
func (l *logs) Append(ctx context.Context, id string, offset int64, chunk []byte) error {
	const op = "logs.Append"
	switch {
	case len(chunk) > infra.MaxLogChunk:
		return tooLarge(op, id, int64(len(chunk)), infra.MaxLogChunk)
	case len(chunk) == 0 || offset < 0:
		return invalid(op, id, "%d bytes at offset %d", len(chunk), offset)
	}
	return (*Store)(l).inTx(ctx, op, id, func(tx *sql.Tx) error {
		var length int64
		err := tx.QueryRowContext(ctx, "SELECT offset + LENGTH(data) FROM log_chunks WHERE id = ? ORDER BY offset DESC LIMIT 1", id).Scan(&length)
		if err != nil && err != sql.ErrNoRows {
			return err
		}
		if offset != length {
			var there []byte
			err := tx.QueryRowContext(ctx, "SELECT data FROM log_chunks WHERE id = ? AND offset = ?", id, offset).Scan(&there)
			if err != nil && err != sql.ErrNoRows {
				return err
			}
			if bytes.Equal(there, chunk) { // an earlier try took effect
				return nil
			}
			return &infra.Error{Op: op, Kind: infra.ErrConflict, Key: id, Err: fmt.Errorf("the log has %d bytes, not %d", length, offset)}
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO log_chunks (id, offset, data) VALUES (?, ?, ?)", id, offset, chunk)
		return err
	})
}

// Read implements infra.Logs.
func (l *logs) Read(ctx context.Context, id string, offset int64, max int) ([]byte, error) {
	const op = "logs.Read"
	if offset < 0 || max < 0 {
		return nil, invalid(op, id, "at most %d bytes from offset %d", max, offset)
	}
	rows, err := l.st.log.QueryContext(ctx, id, offset-infra.MaxLogChunk)
	if err != nil {
		return nil, failed(op, id, err)
	}
	defer rows.Close()
	var text []byte
	for rows.Next() && (max == 0 || len(text) < max) {
		var at int64
		var data []byte
		if err := rows.Scan(&at, &data); err != nil {
			return nil, failed(op, id, err)
		}
		if skip := offset - at; skip > 0 {
			data = data[min(skip, int64(len(data))):]
		}
		text = append(text, data...)
	}
	if max > 0 && len(text) > max {
		text = text[:max]
	}
	return text, failed(op, id, rows.Err())
}

// Delete implements infra.Logs.
func (l *logs) Delete(ctx context.Context, id string) error {
	return (*Store)(l).inTx(ctx, "logs.Delete", id, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM log_chunks WHERE id = ?", id)
		return err
	})
}
