package local

import (
	"context"
	"database/sql"
	"encoding/json"
	"strconv"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// changes implements infra.Changes over the table that jobs writes in the same
// transaction as the record, so no change is lost and none is invented. Writers
// take turns, so the order of seq is the order of commits.
type changes Store

var _ infra.Changes = (*changes)(nil)

// enterChange records one step; nil is "was not" or "is no more".
func (j *jobs) enterChange(ctx context.Context, tx *sql.Tx, old, new *infra.Record) error {
	id := ""
	image := func(r *infra.Record) ([]byte, error) {
		if r == nil {
			return nil, nil
		}
		id = r.ID
		return json.Marshal(r)
	}
	before, err := image(old)
	if err != nil {
		return err
	}
	after, err := image(new)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO changes (at_ms, id, old, new) VALUES (?, ?, ?, ?)",
		j.clock.Now().UnixMilli(), id, before, after)
	return err
}

// Read implements infra.Changes.
func (c *changes) Read(ctx context.Context, consumer string, max int, wait time.Duration) ([]infra.Change, error) {
	const op = "changes.Read"
	s := (*Store)(c)
	if max <= 0 || max > 1000 {
		max = 100
	}
	after, err := c.checkpoint(ctx, op, consumer)
	if err != nil {
		return nil, err
	}
	var found []infra.Change
	err = s.poll(ctx, wait, func() (bool, error) {
		rows, err := s.read.QueryContext(ctx, "SELECT seq, id, old, new FROM changes WHERE seq > ? ORDER BY seq LIMIT ?", after, max)
		if err != nil {
			return false, failed(op, consumer, err)
		}
		found, err = collect(rows, scanChange)
		return len(found) > 0, failed(op, consumer, err)
	})
	return found, err
}

func scanChange(rows *sql.Rows) (change infra.Change, err error) {
	var seq int64
	var old, new []byte
	if err = rows.Scan(&seq, &change.ID, &old, &new); err != nil {
		return change, err
	}
	change.Position = strconv.FormatInt(seq, 10)
	if old != nil {
		change.Old = &infra.Record{}
		err = json.Unmarshal(old, change.Old)
	}
	if new != nil && err == nil {
		change.New = &infra.Record{}
		err = json.Unmarshal(new, change.New)
	}
	return change, err
}

// checkpoint returns the consumer's, entering one that is not known yet.
func (c *changes) checkpoint(ctx context.Context, op, consumer string) (seq int64, err error) {
	err = c.read.QueryRowContext(ctx, "SELECT seq FROM consumers WHERE name = ?", consumer).Scan(&seq)
	if err != sql.ErrNoRows {
		return seq, failed(op, consumer, err)
	}
	if consumer == "" {
		return 0, invalid(op, "", "a consumer needs a name")
	}
	return 0, (*Store)(c).inTx(ctx, op, consumer, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO consumers (name, seq) VALUES (?, 0) ON CONFLICT DO NOTHING", consumer)
		return err
	})
}

// Commit implements infra.Changes. What every known consumer has behind it is
// removed at once: the images are large and nobody asks for them again.
func (c *changes) Commit(ctx context.Context, consumer, position string) error {
	const op = "changes.Commit"
	seq, err := strconv.ParseInt(position, 10, 64)
	if err != nil {
		return invalid(op, consumer, "position %q is not one that Read gave", position)
	}
	return (*Store)(c).inTx(ctx, op, consumer, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE consumers SET seq = MAX(seq, ?) WHERE name = ?", seq, consumer); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM changes WHERE seq <= (SELECT MIN(seq) FROM consumers)")
		return err
	})
}
