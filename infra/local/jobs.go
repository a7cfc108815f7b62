package local

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// jobs implements infra.Jobs and infra.JobIndex. Every write also enters a change.
type jobs Store

var (
	_ infra.Jobs     = (*jobs)(nil)
	_ infra.JobIndex = (*jobs)(nil)
)

const recordColumns = "id, version, owner, kind, created_us, status, open, upload_key, due_ms, payload"

// scanRecord reads recordColumns.
func scanRecord(row interface{ Scan(...any) error }) (infra.Record, error) {
	var r infra.Record
	var created int64
	var upload sql.NullString
	var due sql.NullInt64
	var payload []byte
	err := row.Scan(&r.ID, &r.Version, &r.Owner, &r.Kind, &created, &r.Status, &r.Open, &upload, &due, &payload)
	r.CreatedAt, r.UploadKey, r.Payload = time.UnixMicro(created).UTC(), upload.String, payload
	if due.Valid {
		r.DueAt = time.UnixMilli(due.Int64).UTC()
	}
	return r, err
}

// normal checks r and cuts its times to what is kept, so that what a write
// returns is what a read will.
func normal(op string, r infra.Record) (infra.Record, error) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	switch {
	case r.ID == "" || len(r.ID) > infra.MaxID || strings.Trim(r.ID, letters) != "":
		return r, invalid(op, "", "a record's ID is 1 to %d of A-Z, a-z, 0-9, _ and -", infra.MaxID)
	case r.Owner == "" || len(r.Owner) > infra.MaxID || r.Kind == "" || len(r.Kind) > infra.MaxID:
		return r, invalid(op, r.ID, "owner and kind have 1 to %d bytes", infra.MaxID)
	case r.CreatedAt.IsZero():
		return r, invalid(op, r.ID, "CreatedAt is not set")
	case len(r.UploadKey) > infra.MaxKey:
		return r, invalid(op, r.ID, "the upload key has %d bytes, the limit is %d", len(r.UploadKey), infra.MaxKey)
	case len(r.Payload) > infra.MaxPayload:
		return r, tooLarge(op, r.ID, int64(len(r.Payload)), infra.MaxPayload)
	case !json.Valid(r.Payload):
		return r, invalid(op, r.ID, "the payload is not JSON")
	}
	r.CreatedAt = r.CreatedAt.UTC().Truncate(time.Microsecond)
	if !r.DueAt.IsZero() {
		r.DueAt = r.DueAt.UTC().Truncate(time.Millisecond)
	}
	return r, nil
}

// nullable are the columns that are NULL when unset, which keeps them out of
// their indexes.
func nullable(r infra.Record) (upload sql.NullString, due sql.NullInt64) {
	upload = sql.NullString{String: r.UploadKey, Valid: r.UploadKey != ""}
	if !r.DueAt.IsZero() {
		due = sql.NullInt64{Int64: r.DueAt.UnixMilli(), Valid: true}
	}
	return upload, due
}

// Create implements infra.Jobs.
func (j *jobs) Create(ctx context.Context, r infra.Record) (infra.Record, error) {
	const op = "jobs.Create"
	r, err := normal(op, r)
	if err != nil {
		return infra.Record{}, err
	}
	r.Version = 1
	err = (*Store)(j).inTx(ctx, op, r.ID, func(tx *sql.Tx) error {
		upload, due := nullable(r)
		res, err := tx.ExecContext(ctx, "INSERT INTO records ("+recordColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
			r.ID, r.Version, r.Owner, r.Kind, r.CreatedAt.UnixMicro(), r.Status, r.Open, upload, due, []byte(r.Payload))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			if err != nil {
				return err
			}
			return &infra.Error{Op: op, Kind: infra.ErrExists, Key: r.ID}
		}
		return j.enterChange(ctx, tx, nil, &r)
	})
	if err != nil {
		return infra.Record{}, err
	}
	return r, nil
}

// Get implements infra.Jobs.
func (j *jobs) Get(ctx context.Context, id string) (infra.Record, error) {
	ctx, err := quick(ctx)
	if err != nil {
		return infra.Record{}, failed("jobs.Get", id, err)
	}
	r, err := scanRecord(j.st.record.QueryRowContext(ctx, id))
	if err != nil {
		return infra.Record{}, failed("jobs.Get", id, err)
	}
	return r, nil
}

// Update implements infra.Jobs.
func (j *jobs) Update(ctx context.Context, r infra.Record) (infra.Record, error) {
	const op = "jobs.Update"
	r, err := normal(op, r)
	if err != nil {
		return infra.Record{}, err
	}
	err = (*Store)(j).inTx(ctx, op, r.ID, func(tx *sql.Tx) error {
		old, err := scanRecord(tx.QueryRowContext(ctx, "SELECT "+recordColumns+" FROM records WHERE id = ?", r.ID))
		switch {
		case err != nil:
			return err
		case old.Version != r.Version:
			return &infra.Error{Op: op, Kind: infra.ErrConflict, Key: r.ID, Err: fmt.Errorf("version %d, expected %d", old.Version, r.Version)}
		case old.Owner != r.Owner || old.Kind != r.Kind || !old.CreatedAt.Equal(r.CreatedAt):
			return invalid(op, r.ID, "owner, kind and creation time never change")
		}
		r.Version++
		upload, due := nullable(r)
		_, err = tx.ExecContext(ctx, "UPDATE records SET version = ?, status = ?, open = ?, upload_key = ?, due_ms = ?, payload = ? WHERE id = ?",
			r.Version, r.Status, r.Open, upload, due, []byte(r.Payload), r.ID)
		if err != nil {
			return err
		}
		return j.enterChange(ctx, tx, &old, &r)
	})
	if err != nil {
		return infra.Record{}, err
	}
	return r, nil
}

// Delete implements infra.Jobs.
func (j *jobs) Delete(ctx context.Context, id string, version int64) error {
	const op = "jobs.Delete"
	return (*Store)(j).inTx(ctx, op, id, func(tx *sql.Tx) error {
		old, err := scanRecord(tx.QueryRowContext(ctx, "DELETE FROM records WHERE id = ? RETURNING "+recordColumns, id))
		switch {
		case err == sql.ErrNoRows:
			return nil
		case err != nil:
			return err
		case version != infra.AnyVersion && old.Version != version: // rolls back
			return &infra.Error{Op: op, Kind: infra.ErrConflict, Key: id, Err: fmt.Errorf("version %d, expected %d", old.Version, version)}
		}
		return j.enterChange(ctx, tx, &old, nil)
	})
}
