package local

import (
	"context"
	"database/sql"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// maxPage is the longest page of records and documents.
const maxPage = 100

func pageLimit(limit int) int {
	if limit <= 0 || limit > maxPage {
		return maxPage
	}
	return limit
}

// List implements infra.JobIndex.
func (j *jobs) List(ctx context.Context, owner, kind, after string, limit int) (infra.Page[infra.Record], error) {
	const op = "jobs.List"
	mark := scope("jobs", owner, kind)
	query, args := "SELECT "+recordColumns+" FROM records WHERE owner = ?", []any{owner}
	if kind != "" {
		query, args = query+" AND kind = ?", append(args, kind)
	}
	if after != "" {
		c, err := parseCursor(op, after, mark)
		if err != nil {
			return infra.Page[infra.Record]{}, err
		}
		query, args = query+" AND (created_us, id) < (?, ?)", append(args, c.Num, string(c.Text))
	}
	return j.page(ctx, op, query+" ORDER BY created_us DESC, id DESC", args, limit, func(r infra.Record) cursor {
		return cursor{Scope: mark, Num: r.CreatedAt.UnixMicro(), Text: []byte(r.ID)}
	})
}

// Due implements infra.JobIndex.
func (j *jobs) Due(ctx context.Context, t time.Time, after string, limit int) (infra.Page[infra.Record], error) {
	const op = "jobs.Due"
	mark := scope("due")
	query, args := "SELECT "+recordColumns+" FROM records WHERE due_ms <= ?", []any{t.UnixMilli()}
	if after != "" {
		c, err := parseCursor(op, after, mark)
		if err != nil {
			return infra.Page[infra.Record]{}, err
		}
		query, args = query+" AND (due_ms, id) > (?, ?)", append(args, c.Num, string(c.Text))
	}
	return j.page(ctx, op, query+" ORDER BY due_ms, id", args, limit, func(r infra.Record) cursor {
		return cursor{Scope: mark, Num: r.DueAt.UnixMilli(), Text: []byte(r.ID)}
	})
}

// page runs an ordered query for one page; position makes the cursor behind a record.
func (j *jobs) page(ctx context.Context, op, query string, args []any, limit int, position func(infra.Record) cursor) (infra.Page[infra.Record], error) {
	limit = pageLimit(limit)
	records, err := j.records(ctx, op, query+" LIMIT ?", append(args, limit+1)...)
	if err != nil || len(records) <= limit {
		return infra.Page[infra.Record]{Items: records}, err
	}
	return infra.Page[infra.Record]{Items: records[:limit], Next: position(records[limit-1]).String()}, nil
}

func (j *jobs) records(ctx context.Context, op, query string, args ...any) ([]infra.Record, error) {
	rows, err := j.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, failed(op, "", err)
	}
	records, err := collect(rows, func(rows *sql.Rows) (infra.Record, error) { return scanRecord(rows) })
	return records, failed(op, "", err)
}

// CountOpen implements infra.JobIndex.
func (j *jobs) CountOpen(ctx context.Context, owner string) (n int, err error) {
	err = j.read.QueryRowContext(ctx, "SELECT COUNT(*) FROM records WHERE owner = ? AND open = 1", owner).Scan(&n)
	return n, failed("jobs.CountOpen", "", err)
}

// ByUpload implements infra.JobIndex.
func (j *jobs) ByUpload(ctx context.Context, key string) ([]infra.Record, error) {
	if key == "" {
		return nil, nil
	}
	return j.records(ctx, "jobs.ByUpload", "SELECT "+recordColumns+" FROM records WHERE upload_key = ? ORDER BY created_us, id LIMIT 10", key)
}
