package infratest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
)

var queueTests = []test{
	{"SendReceiveAck", testQueueBasics},
	{"LongPoll", testQueueLongPoll},
	{"Delay", testQueueDelay},
	{"Visibility", testQueueVisibility},
	{"Extend", testQueueExtend},
	{"DeadLetters", testQueueDeadLetters},
	{"HandBackIsNotCounted", testQueueHandBack},
	{"QueuesAreApart", testQueuesApart},
	{"ConcurrentReceivers", testQueueConcurrentReceivers},
	{"Restart", testQueueRestart},
	{"BadArguments", testQueueBadArguments},
}

// lease is a visibility that no test outlives; brief is one it waits for.
const (
	lease = 5 * time.Minute
	brief = 2 * time.Second
)

func testQueueBasics(t *testing.T, a Adapter) {
	q := a.Queues.Queue(infra.PredictionQueue)
	none(t, q)
	want := map[string]bool{}
	for _, body := range []string{`{"id":"1"}`, `{"prompt":"é 写 🖼 <1>\u0000"}`, strings.Repeat("x", infra.MaxMessage)} {
		must(t, q.Send(t.Context(), []byte(body), 0))
		want[body] = true
	}
	ids := map[string]bool{}
	for _, m := range receive(t, a.Other(t).Queues.Queue(infra.PredictionQueue), 3, lease) {
		if !want[string(m.Body)] {
			t.Errorf("received a body of %d bytes that was not sent, or was received already", len(m.Body))
		}
		delete(want, string(m.Body))
		if m.Receives != 1 || m.ID == "" || ids[m.ID] || m.Receipt == "" || m.SentAt.IsZero() {
			t.Errorf("message %+v: want the first receive, an ID of its own, a receipt and a time", m)
		}
		ids[m.ID] = true
		for range 2 { // again: nil or gone
			if err := q.Ack(t.Context(), m.Receipt); err != nil && infra.KindOf(err) != infra.ErrGone {
				t.Error(err)
			}
		}
	}
	eventually(t, func() string {
		if d := must1(q.Depth(t.Context()))(t); d != (infra.Depth{}) {
			return fmt.Sprintf("depth is %+v after all was acknowledged", d)
		}
		return ""
	})
}

func testQueueLongPoll(t *testing.T, a Adapter) {
	q := a.Queues.Queue(infra.PredictionQueue)
	got := make(chan []infra.Message, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		m, _ := q.Receive(ctx, 1, infra.MaxWait, lease)
		got <- m
	}()
	time.Sleep(100 * time.Millisecond) // most likely it waits by now; the test is true either way
	must(t, a.Other(t).Queues.Queue(infra.PredictionQueue).Send(t.Context(), []byte("hello"), 0))
	if m := <-got; len(m) != 1 || string(m[0].Body) != "hello" {
		t.Fatalf("the waiting receiver got %v, want the message sent meanwhile", m)
	}
	m := waiting(t, a, func(ctx context.Context) ([]infra.Message, error) { return q.Receive(ctx, 1, time.Second, lease) })
	if len(m) > 0 {
		t.Errorf("received %s, want nothing once the wait is over", m[0].Body)
	}
	ended, end := context.WithCancel(t.Context())
	go func() { time.Sleep(20 * time.Millisecond); end() }()
	if _, err := q.Receive(ended, 1, infra.MaxWait, lease); err == nil || infra.Retryable(err) {
		t.Errorf("got %v, want the context's error", err)
	}
}

func testQueueDelay(t *testing.T, a Adapter) {
	q := a.Queues.Queue(infra.PredictionQueue)
	must(t, q.Send(t.Context(), []byte("later"), 2*time.Second))
	none(t, q)
	if d := must1(q.Depth(t.Context()))(t); d.Leased != 0 || d.Dead != 0 {
		t.Errorf("depth is %+v, want none leased and none dead", d)
	}
	a.Advance(3 * time.Second)
	receive(t, q, 1, lease)
}

func testQueueVisibility(t *testing.T, a Adapter) {
	q := a.Queues.Queue(infra.TrainingQueue)
	must(t, q.Send(t.Context(), []byte("job"), 0))
	first := receive(t, q, 1, brief)[0]
	none(t, q)
	a.Advance(brief + time.Second)
	second := receive(t, q, 1, lease)[0]
	if second.ID != first.ID || second.Receives != 2 || second.Receipt == first.Receipt {
		t.Errorf("redelivered as %+v, want the same ID, receive 2, another receipt", second)
	}
	// The lost lease's holder cannot hurt the new one's.
	if err := q.Ack(t.Context(), first.Receipt); err != nil && infra.KindOf(err) != infra.ErrGone {
		t.Error(err)
	}
	must(t, q.Extend(t.Context(), second.Receipt, lease))
	must(t, q.Ack(t.Context(), second.Receipt))
	none(t, q)
}

func testQueueExtend(t *testing.T, a Adapter) {
	q := a.Queues.Queue(infra.TrainingQueue)
	must(t, q.Send(t.Context(), []byte("job"), 0))
	m := receive(t, q, 1, brief)[0]
	for range 3 { // a heartbeat outlives the first visibility
		a.Advance(brief - time.Second)
		must(t, q.Extend(t.Context(), m.Receipt, brief))
	}
	none(t, q)
	must(t, q.Extend(t.Context(), m.Receipt, 0)) // gives it back at once
	again := receive(t, q, 1, lease)[0]
	if again.Receives != 2 {
		t.Errorf("receive %d after giving back, want 2", again.Receives)
	}
	must(t, q.Ack(t.Context(), again.Receipt))
	wantKind(t, q.Extend(t.Context(), again.Receipt, lease), infra.ErrGone)
}

func testQueueDeadLetters(t *testing.T, a Adapter) {
	q := a.Queues.Queue(infra.TrainingQueue)
	must(t, q.Send(t.Context(), []byte("poison"), 0))
	must(t, q.Send(t.Context(), []byte("healthy"), 0))
	var id string
	for i := 1; i <= infra.MaxReceives(infra.TrainingQueue); i++ {
		for _, m := range receive(t, q, 3-min(i, 2), brief) {
			if string(m.Body) == "healthy" {
				must(t, q.Ack(t.Context(), m.Receipt))
				continue
			}
			if m.Receives != i {
				t.Errorf("receive %d is counted as %d", i, m.Receives)
			}
			id = m.ID
		}
		a.Advance(brief + time.Second) // the runner died
	}
	none(t, q)
	for range 2 { // looking leaves them there
		eventually(t, func() string {
			dead := must1(q.DeadLetters(t.Context(), 10))(t)
			if len(dead) != 1 || string(dead[0].Body) != "poison" || dead[0].ID != id {
				return fmt.Sprintf("dead letters are %+v, want the poisoned message", dead)
			}
			if d := must1(q.Depth(t.Context()))(t); d != (infra.Depth{Dead: 1}) {
				return fmt.Sprintf("depth is %+v, want one dead letter alone", d)
			}
			return ""
		})
	}
}

// A runner that is told to stop sends a fresh message and acknowledges its own:
// however often that happens, the job does not become a dead letter.
func testQueueHandBack(t *testing.T, a Adapter) {
	q := a.Queues.Queue(infra.TrainingQueue)
	must(t, q.Send(t.Context(), []byte("job"), 0))
	for range 2 * infra.MaxReceives(infra.TrainingQueue) {
		m := receive(t, q, 1, lease)[0]
		if m.Receives != 1 {
			t.Fatalf("a handed-back job arrives as receive %d, want 1", m.Receives)
		}
		must(t, q.Send(t.Context(), m.Body, 0))
		must(t, q.Ack(t.Context(), m.Receipt))
	}
	if dead := must1(q.DeadLetters(t.Context(), 10))(t); len(dead) > 0 {
		t.Errorf("%d dead letters, want none", len(dead))
	}
}

func testQueuesApart(t *testing.T, a Adapter) {
	names := []string{infra.PredictionQueue, infra.TrainingQueue, infra.WebhookQueue}
	for _, name := range names {
		must(t, a.Queues.Queue(name).Send(t.Context(), []byte(name), 0))
	}
	for _, name := range names {
		q := a.Queues.Queue(name)
		if m := receive(t, q, 1, lease)[0]; string(m.Body) != name {
			t.Errorf("queue %s gave %s", name, m.Body)
		}
		none(t, q)
	}
}

func testQueueConcurrentReceivers(t *testing.T, a Adapter) {
	q := a.Queues.Queue(infra.PredictionQueue)
	const n = 40
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := q.Send(t.Context(), fmt.Append(nil, i), 0); err != nil {
				t.Error(err)
			}
		})
	}
	var mu sync.Mutex
	seen := map[string]int{}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(seen) }
	other := a.Other(t).Queues.Queue(infra.PredictionQueue)
	for i := range 6 {
		from := []infra.Queue{q, other}[i%2]
		wg.Go(func() {
			for deadline := time.Now().Add(20 * time.Second); count() < n && time.Now().Before(deadline); {
				messages, err := from.Receive(t.Context(), 3, 0, lease)
				if err != nil {
					t.Error(err)
					return
				}
				for _, m := range messages {
					mu.Lock()
					seen[string(m.Body)]++
					mu.Unlock()
					if err := from.Ack(t.Context(), m.Receipt); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if len(seen) != n {
		t.Errorf("%d of %d messages arrived", len(seen), n)
	}
	for body, times := range seen {
		if times > 1 {
			t.Logf("message %s arrived %d times, which at-least-once allows", body, times)
		}
	}
	none(t, q)
}

func testQueueRestart(t *testing.T, a Adapter) {
	if a.Restart == nil {
		t.Skip("this store does not restart")
	}
	q := a.Queues.Queue(infra.TrainingQueue)
	for _, body := range []string{"a", "b"} {
		must(t, q.Send(t.Context(), []byte(body), 0))
	}
	leased := receive(t, q, 1, brief)[0]
	q = a.Restart(t).Queues.Queue(infra.TrainingQueue)
	if m := receive(t, q, 1, lease)[0]; bytes.Equal(m.Body, leased.Body) {
		t.Error("a lease did not survive the restart")
	}
	a.Advance(brief + time.Second)
	if m := receive(t, q, 1, lease)[0]; m.ID != leased.ID || m.Receives != 2 {
		t.Errorf("after restart got %+v, want %s again as receive 2", m, leased.ID)
	}
}

func testQueueBadArguments(t *testing.T, a Adapter) {
	ctx, q := t.Context(), a.Queues.Queue(infra.PredictionQueue)
	receive := func(max int, wait, visibility time.Duration) error {
		_, err := q.Receive(ctx, max, wait, visibility)
		return err
	}
	for name, c := range map[string]struct {
		err  error
		kind infra.Kind
	}{
		"ErrTooLarge":       {q.Send(ctx, make([]byte, infra.MaxMessage+1), 0), infra.ErrTooLarge},
		"ErrEmpty":          {q.Send(ctx, nil, 0), infra.ErrInvalid},
		"ErrNotUTF8":        {q.Send(ctx, []byte("\xff"), 0), infra.ErrInvalid},
		"ErrDelay":          {q.Send(ctx, []byte("x"), infra.MaxDelay+time.Second), infra.ErrInvalid},
		"ErrNegativeDelay":  {q.Send(ctx, []byte("x"), -time.Second), infra.ErrInvalid},
		"ErrNone":           {receive(0, 0, lease), infra.ErrInvalid},
		"ErrTooMany":        {receive(infra.MaxBatch+1, 0, lease), infra.ErrInvalid},
		"ErrWait":           {receive(1, infra.MaxWait+time.Second, lease), infra.ErrInvalid},
		"ErrVisibility":     {receive(1, 0, infra.MaxVisibility+time.Second), infra.ErrInvalid},
		"ErrExtendTooLong":  {q.Extend(ctx, "x", infra.MaxVisibility+time.Second), infra.ErrInvalid},
		"ErrUnknownReceipt": {q.Extend(ctx, "AQEBnosuchreceipt", lease), infra.ErrGone},
	} {
		t.Run(name, func(t *testing.T) { wantKind(t, c.err, c.kind) })
	}
	none(t, q)
}
