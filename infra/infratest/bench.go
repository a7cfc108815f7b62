package infratest

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// Bench measures what a busy service does most: a status poll, a step of a job's
// record, a message's way through a queue, a line of log, a small output.
func Bench(b *testing.B, p infra.Ports) {
	check := func(b *testing.B, err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	ctx := context.Background()
	r, err := p.Jobs.Create(ctx, record(unique("bench-"), p.Clock.Now()))
	check(b, err)
	b.Run("Jobs.Get", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := p.Jobs.Get(ctx, r.ID); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("Jobs.Update", func(b *testing.B) {
		for b.Loop() {
			r, err = p.Jobs.Update(ctx, r)
			check(b, err)
		}
	})
	b.Run("Queue", func(b *testing.B) {
		q := p.Queues.Queue(infra.PredictionQueue)
		for b.Loop() {
			check(b, q.Send(ctx, []byte(`{"id":"x"}`), 0))
			m, err := q.Receive(ctx, 1, time.Second, time.Minute)
			check(b, err)
			for _, m := range m {
				check(b, q.Ack(ctx, m.Receipt))
			}
		}
	})
	b.Run("Logs.Append", func(b *testing.B) {
		id, line, offset := unique("job_"), []byte(" 10%|#         | 10/100 [00:01<00:09, 10.00it/s]\n"), int64(0)
		for b.Loop() {
			check(b, p.Logs.Append(ctx, id, offset, line))
			offset += int64(len(line))
		}
	})
	b.Run("Blobs.Put", func(b *testing.B) {
		key, body := unique("tests/bench-"), pattern(400<<10)
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			_, err := p.Blobs.Put(ctx, key, bytes.NewReader(body), infra.PutOptions{})
			check(b, err)
		}
		check(b, p.Blobs.Delete(ctx, key))
	})
}
