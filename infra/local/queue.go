package local

import (
	"context"
	"database/sql"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lowrank/lowrank/infra"
)

// queues implements infra.Queues; a queue exists once something is sent to it.
type queues Store

// Queue implements infra.Queues.
func (q *queues) Queue(name string) infra.Queue { return &queue{s: (*Store)(q), name: name} }

// queue implements infra.Queue over the table messages: a message is ready when
// visible_ms has passed, leased while it has a receipt and has not, dead when
// dead is set.
type queue struct {
	s    *Store
	name string
}

var _ infra.Queue = (*queue)(nil)

// check refuses names that an SQS queue could not have.
func (q *queue) check(op string) error {
	if q.name == "" || len(q.name) > 60 || strings.Trim(q.name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return invalid(op, q.name, "a queue's name is 1 to 60 of a-z, 0-9 and -")
	}
	return nil
}

// Send implements infra.Queue.
func (q *queue) Send(ctx context.Context, body []byte, delay time.Duration) error {
	const op = "queue.Send"
	if err := q.check(op); err != nil {
		return err
	}
	switch {
	case len(body) > infra.MaxMessage:
		return tooLarge(op, q.name, int64(len(body)), infra.MaxMessage)
	case len(body) == 0 || !utf8.Valid(body):
		return invalid(op, q.name, "the body must be UTF-8 and not empty")
	case delay < 0 || delay > infra.MaxDelay:
		return invalid(op, q.name, "a delay of %v, the limit is %v", delay, infra.MaxDelay)
	}
	return q.s.inTx(ctx, op, q.name, func(tx *sql.Tx) error {
		return q.s.insertMessage(ctx, tx, q.name, body, delay)
	})
}

// insertMessage queues body within a transaction that does something else too.
func (s *Store) insertMessage(ctx context.Context, tx *sql.Tx, queue string, body []byte, delay time.Duration) error {
	now := s.clock.Now()
	_, err := tx.ExecContext(ctx, "INSERT INTO messages (id, queue, sent_ms, visible_ms, body) VALUES (?, ?, ?, ?, ?)",
		randomID(16), queue, now.UnixMilli(), now.Add(delay).UnixMilli(), body)
	return err
}

// Receive implements infra.Queue.
func (q *queue) Receive(ctx context.Context, max int, wait, visibility time.Duration) (messages []infra.Message, err error) {
	const op = "queue.Receive"
	if err := q.check(op); err != nil {
		return nil, err
	}
	switch {
	case max < 1 || max > infra.MaxBatch:
		return nil, invalid(op, q.name, "%d messages at a time, the limit is %d", max, infra.MaxBatch)
	case wait < 0 || wait > infra.MaxWait:
		return nil, invalid(op, q.name, "a wait of %v, the limit is %v", wait, infra.MaxWait)
	case visibility < 0 || visibility > infra.MaxVisibility:
		return nil, invalid(op, q.name, "a visibility of %v, the limit is %v", visibility, infra.MaxVisibility)
	}
	err = q.s.poll(ctx, wait, func() (bool, error) {
		// Looking takes no write lock, so idle receivers disturb nobody.
		var ready bool
		err := row(ctx, q.s.st.ready, []any{q.name, q.s.clock.Now().UnixMilli()}, &ready)
		if err != nil || !ready {
			return false, failed(op, q.name, err)
		}
		messages, err = q.lease(ctx, max, visibility)
		return len(messages) > 0, err
	})
	return messages, err
}

// lease takes up to max ready messages; those received too often become dead.
func (q *queue) lease(ctx context.Context, max int, visibility time.Duration) (messages []infra.Message, err error) {
	now := q.s.clock.Now()
	err = q.s.inTx(ctx, "queue.Receive", q.name, func(tx *sql.Tx) error {
		if err := q.bury(ctx, tx, now); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, `SELECT id, body, receives + 1, sent_ms, seq FROM messages
			WHERE queue = ? AND dead = 0 AND visible_ms <= ? ORDER BY seq LIMIT ?`, q.name, now.UnixMilli(), max)
		if err != nil {
			return err
		}
		var seqs []int64
		messages, err = collect(rows, func(rows *sql.Rows) (infra.Message, error) {
			var seq int64
			m, err := scanMessage(rows, &seq)
			m.Receipt, seqs = q.s.receipt(), append(seqs, seq)
			return m, err
		})
		if err != nil {
			return err
		}
		for i, m := range messages {
			_, err := tx.ExecContext(ctx, "UPDATE messages SET visible_ms = ?, received_ms = ?, receives = ?, receipt = ? WHERE seq = ?",
				now.Add(visibility).UnixMilli(), now.UnixMilli(), m.Receives, m.Receipt, seqs[i])
			if err != nil {
				return err
			}
		}
		return nil
	})
	return messages, err
}

// scanMessage reads a row of id, body, receives, sent_ms, and what was selected beside them.
func scanMessage(rows *sql.Rows, beside ...any) (m infra.Message, err error) {
	var sent int64
	err = rows.Scan(append([]any{&m.ID, &m.Body, &m.Receives, &sent}, beside...)...)
	m.SentAt = time.UnixMilli(sent).UTC()
	return m, err
}

// receipt is a fresh one, which begins with the name of this process.
func (s *Store) receipt() string {
	if s.options.Name == "" {
		return randomID(16)
	}
	return s.options.Name + "." + randomID(16)
}

// Held returns the messages of a queue that the process of that Options.Name
// received and has not acknowledged, unless others received them since. When it
// has died, Extend by 0 gives them back before their leases are over.
func (s *Store) Held(ctx context.Context, queue, name string) ([]infra.Message, error) {
	const op = "queue.Held"
	if name == "" {
		return nil, invalid(op, queue, "a process without a name")
	}
	// The character after the full stop is the slash.
	rows, err := s.read.QueryContext(ctx, `SELECT id, body, receives, sent_ms, receipt FROM messages
		WHERE receipt > ?1 || '.' AND receipt < ?1 || '/' AND queue = ?2 AND dead = 0 ORDER BY seq`, name, queue)
	if err != nil {
		return nil, failed(op, queue, err)
	}
	held, err := collect(rows, func(rows *sql.Rows) (infra.Message, error) {
		receipt := ""
		m, err := scanMessage(rows, &receipt)
		m.Receipt = receipt
		return m, err
	})
	return held, failed(op, queue, err)
}

// bury makes dead letters of the messages whose last lease ran out.
func (q *queue) bury(ctx context.Context, tx *sql.Tx, now time.Time) error {
	_, err := tx.ExecContext(ctx, "UPDATE messages SET dead = 1, receipt = NULL WHERE queue = ? AND dead = 0 AND visible_ms <= ? AND receives >= ?",
		q.name, now.UnixMilli(), infra.MaxReceives(q.name))
	return err
}

// Extend implements infra.Queue.
func (q *queue) Extend(ctx context.Context, receipt string, visibility time.Duration) error {
	const op = "queue.Extend"
	if visibility < 0 || visibility > infra.MaxVisibility {
		return invalid(op, q.name, "a visibility of %v, the limit is %v", visibility, infra.MaxVisibility)
	}
	now := q.s.clock.Now()
	return q.s.inTx(ctx, op, q.name, func(tx *sql.Tx) error {
		var received int64
		err := tx.QueryRowContext(ctx, "SELECT received_ms FROM messages WHERE receipt = ? AND queue = ? AND visible_ms > ?",
			receipt, q.name, now.UnixMilli()).Scan(&received)
		if err == sql.ErrNoRows {
			return &infra.Error{Op: op, Kind: infra.ErrGone, Key: q.name}
		}
		if err != nil {
			return err
		}
		until := now.Add(visibility).UnixMilli()
		if until > received+infra.MaxVisibility.Milliseconds() {
			return invalid(op, q.name, "the lease would last longer than %v", infra.MaxVisibility)
		}
		_, err = tx.ExecContext(ctx, "UPDATE messages SET visible_ms = ? WHERE receipt = ?", until, receipt)
		return err
	})
}

// Ack implements infra.Queue. A receipt that is gone is no error. One that ran
// out but whose message nobody received since still removes it.
func (q *queue) Ack(ctx context.Context, receipt string) error {
	return q.s.inTx(ctx, "queue.Ack", q.name, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM messages WHERE receipt = ? AND queue = ?", receipt, q.name)
		return err
	})
}

// Depth implements infra.Queue; here it is exact.
func (q *queue) Depth(ctx context.Context) (infra.Depth, error) {
	const op = "queue.Depth"
	var d infra.Depth
	if err := q.check(op); err != nil {
		return d, err
	}
	now := q.s.clock.Now()
	if err := q.buryNow(ctx, op, now); err != nil {
		return d, err
	}
	err := q.s.read.QueryRowContext(ctx, `SELECT
			COUNT(*) FILTER (WHERE dead = 0 AND (receipt IS NULL OR visible_ms <= ?1)),
			COUNT(*) FILTER (WHERE dead = 0 AND receipt IS NOT NULL AND visible_ms > ?1),
			COUNT(*) FILTER (WHERE dead = 1)
		FROM messages WHERE queue = ?2`, now.UnixMilli(), q.name).Scan(&d.Waiting, &d.Leased, &d.Dead)
	return d, failed(op, q.name, err)
}

// DeadLetters implements infra.Queue; here none is missed.
func (q *queue) DeadLetters(ctx context.Context, max int) ([]infra.Message, error) {
	const op = "queue.DeadLetters"
	if err := q.check(op); err != nil {
		return nil, err
	}
	if err := q.buryNow(ctx, op, q.s.clock.Now()); err != nil {
		return nil, err
	}
	rows, err := q.s.read.QueryContext(ctx, "SELECT id, body, receives, sent_ms FROM messages WHERE queue = ? AND dead = 1 ORDER BY seq LIMIT ?", q.name, max)
	if err != nil {
		return nil, failed(op, q.name, err)
	}
	dead, err := collect(rows, func(rows *sql.Rows) (infra.Message, error) { return scanMessage(rows) })
	return dead, failed(op, q.name, err)
}

// buryNow buries in a transaction of its own, and only when there is something
// to bury: with no receiver left nobody else would.
func (q *queue) buryNow(ctx context.Context, op string, now time.Time) error {
	var due bool
	err := q.s.read.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM messages WHERE queue = ? AND dead = 0 AND visible_ms <= ? AND receives >= ?)",
		q.name, now.UnixMilli(), infra.MaxReceives(q.name)).Scan(&due)
	if err != nil || !due {
		return failed(op, q.name, err)
	}
	return q.s.inTx(ctx, op, q.name, func(tx *sql.Tx) error { return q.bury(ctx, tx, now) })
}
