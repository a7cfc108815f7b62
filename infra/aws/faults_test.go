package aws_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/aws/emulator"
	"github.com/lowrank/lowrank/infra/predictions"

	lowrankaws "github.com/lowrank/lowrank/infra/aws"
)

// TestBadDay brings many jobs through a service that throttles, fails, loses
// answers and repeats itself, with runners that die. None is lost, none is done
// twice in a way that anyone sees.
func TestBadDay(t *testing.T) {
	jobs := 40
	if emulator.Required("emulator") {
		jobs = 200
	}
	sdk, root := startEmulator(t)
	proxy := newFaultProxy(t, *root.BaseEndpoint, 7)
	c := makeResources(t, root)
	for name, url := range c.Queues { // the SDK takes a queue's URL for its endpoint's path alone
		c.Queues[name] = strings.Replace(url, *root.BaseEndpoint, proxy.URL, 1)
	}
	through := sdk.Copy()
	through.BaseEndpoint = aws.String(proxy.URL)
	day := &badDay{t: t, ports: lowrankaws.New(through, c).Ports(), deaths: rand.New(rand.NewPCG(7, 2))}
	day.store = predictions.New(day.ports)

	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() { day.run(ctx) })
	}
	running.Go(func() { day.ingest(ctx) })
	running.Go(func() { day.sweep(ctx) })

	var ids []events.JobID
	var mu sync.Mutex
	var submitting sync.WaitGroup
	for w := range 4 {
		submitting.Go(func() {
			for i := w; i < jobs; i += 4 {
				id := day.submit(ctx, i)
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
			}
		})
	}
	submitting.Wait()
	counts := map[events.Status]int{}
	for _, id := range ids {
		counts[day.ended(ctx, id).Status]++
	}
	proxy.stop()
	cancel()
	running.Wait()

	straight := lowrankaws.New(sdk, c).Ports()
	day.check(straight, ids)
	t.Logf("%d jobs: %v; faults: %v", jobs, counts, proxy.counts)
	if counts[events.Succeeded] < jobs*8/10 {
		t.Errorf("%v: too few succeeded for the day to show anything", counts)
	}
}

type badDay struct {
	t      *testing.T
	ports  infra.Ports
	store  *predictions.Store
	mu     sync.Mutex
	deaths *rand.Rand
}

// untilDone repeats what fails, as a client does.
func (d *badDay) untilDone(ctx context.Context, what string, fn func() error) {
	for ctx.Err() == nil {
		err := fn()
		if err == nil {
			return
		}
		if !infra.Retryable(err) && ctx.Err() == nil {
			d.t.Errorf("%s: %v, which is not said to pass", what, err)
			return
		}
	}
}

// submit makes a job; one in five waits for an upload, which it sends.
func (d *badDay) submit(ctx context.Context, i int) events.JobID {
	j := events.Job{
		ID: events.JobID(events.NewID()), Owner: "alice", Model: "replicate/lora", Version: "v", Program: events.ProgramLora, Base: "embedded",
		Input: fmt.Appendf(nil, `{"prompt":"%d"}`, i), OutputSecret: events.NewSecret(), Status: events.Starting, CreatedAt: events.At(time.Now()),
	}
	if i%5 == 0 {
		key := events.UploadKey(events.NewSecret(), "a.zip")
		j.WaitsFor, j.Sources = key, []events.Source{{URL: "u", Key: key, Name: "a.zip"}}
		d.untilDone(ctx, "create", func() error { return d.store.Create(ctx, &j) })
		url, err := d.ports.Presigner.PresignPut(ctx, key, time.Hour, 0)
		if err != nil {
			d.t.Error(err)
		}
		d.untilDone(ctx, "put", func() error { return put(ctx, url) })
		return j.ID
	}
	d.untilDone(ctx, "create", func() error { return d.store.Create(ctx, &j) })
	d.untilDone(ctx, "enqueue", func() error { return d.store.Enqueue(ctx, j.ID, j.Program) })
	return j.ID
}

func put(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader("PK"))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return &infra.Error{Op: "PUT", Kind: infra.ErrUnavailable, Err: errors.New(resp.Status)}
	}
	return nil
}

// run is a runner: it may die at any job without a word.
func (d *badDay) run(ctx context.Context) {
	const lease = 4 * time.Second
	q := d.ports.Queues.Queue(infra.PredictionQueue)
	for ctx.Err() == nil {
		messages, err := q.Receive(ctx, 1, time.Second, lease)
		if err != nil {
			continue
		}
		for _, m := range messages {
			msg, err := events.ParseRunJob(m.Body)
			if err != nil {
				d.t.Error(err)
				continue
			}
			run, err := d.store.Start(ctx, msg.ID, lease)
			switch {
			case errors.Is(err, events.ErrTerminal), errors.Is(err, events.ErrLeased), errors.Is(err, infra.ErrNotFound):
				_ = q.Ack(ctx, m.Receipt) // it may come again: the same happens
				continue
			case err != nil:
				continue // it comes again
			}
			d.mu.Lock()
			dies := d.deaths.Float64() < 0.08
			d.mu.Unlock()
			if d.work(ctx, run, dies) == nil {
				_ = q.Ack(ctx, m.Receipt)
			}
		}
	}
}

var errDied = errors.New("the runner died")

// work writes what follows from the job's input alone.
func (d *badDay) work(ctx context.Context, run *predictions.Run, dies bool) error {
	j := run.Job()
	run.Logf("drawing")
	if err := run.Beat(ctx); err != nil {
		return err
	}
	if dies {
		return errDied
	}
	info, err := d.ports.Blobs.Put(ctx, j.OutputKey("out-0.png"), strings.NewReader(string(j.Input)), infra.PutOptions{ContentType: "image/png"})
	if err != nil {
		return err
	}
	err = run.Succeed(ctx, events.OutputObject{Key: info.Key, Size: info.Size, SHA256: info.SHA256, ContentType: "image/png"})
	for err != nil && infra.Retryable(err) && ctx.Err() == nil {
		err = run.Succeed(ctx, events.OutputObject{Key: info.Key, Size: info.Size, SHA256: info.SHA256, ContentType: "image/png"})
	}
	return err
}

// ingest starts what waited for an upload.
func (d *badDay) ingest(ctx context.Context) {
	q := d.ports.Queues.Queue(infra.ObjectQueue)
	for ctx.Err() == nil {
		messages, err := q.Receive(ctx, infra.MaxBatch, time.Second, 5*time.Second)
		if err != nil {
			continue
		}
		for _, m := range messages {
			objects, err := events.ParseObjectCreated(m.Body)
			for _, o := range objects {
				err = errors.Join(err, d.store.Arrived(ctx, o, ""))
			}
			if err == nil {
				_ = q.Ack(ctx, m.Receipt)
			}
		}
	}
}

func (d *badDay) sweep(ctx context.Context) {
	for infra.Sleep(ctx, d.ports.Clock, time.Second) == nil {
		_, _ = d.store.Overdue(ctx) // what it left it finds again
		_ = d.store.DeadLetters(ctx, infra.PredictionQueue)
	}
}

func (d *badDay) ended(ctx context.Context, id events.JobID) events.Job {
	for deadline := time.Now().Add(4 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if j, err := d.store.Load(ctx, id); err == nil && j.Status.Terminal() {
			return j
		}
	}
	d.t.Fatalf("job %s has not ended after four minutes", id)
	return events.Job{}
}

// check looks at what was left, without faults.
func (d *badDay) check(p infra.Ports, ids []events.JobID) {
	ctx, store := d.t.Context(), predictions.New(p)
	for _, id := range ids {
		j, err := store.Load(ctx, id)
		if err != nil {
			d.t.Fatal(err)
		}
		switch j.Status {
		case events.Succeeded:
			b, err := p.Blobs.Get(ctx, j.OutputKey("out-0.png"), infra.GetOptions{})
			if err != nil {
				d.t.Fatal(err)
			}
			body, err := io.ReadAll(b.Body)
			b.Body.Close()
			if err != nil || string(body) != string(j.Input) || len(j.Outputs) != 1 {
				d.t.Errorf("job %s has output %q, want %s: %v", id, body, j.Input, err)
			}
		case events.Failed:
			if j.Crashes < events.MaxCrashes && !strings.Contains(j.Error, "given up") {
				d.t.Errorf("job %s failed without cause: %s", id, j.Error)
			}
		default:
			d.t.Errorf("job %s is %s", id, j.Status)
		}
	}
	listed := map[events.JobID]int{}
	for cursor := ""; ; {
		page, next, err := store.List(ctx, "alice", false, cursor, 30)
		if err != nil {
			d.t.Fatal(err)
		}
		for _, j := range page {
			listed[j.ID]++
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	for _, id := range ids {
		if listed[id] != 1 {
			d.t.Errorf("job %s is listed %d times", id, listed[id])
		}
	}
	if len(listed) != len(ids) {
		d.t.Errorf("%d jobs are listed, %d were made", len(listed), len(ids))
	}
	d.changes(p)
}

// changes checks that the feed tells of one success a job.
func (d *badDay) changes(p infra.Ports) {
	ended := map[string]int{}
	for {
		batch, err := p.Changes.Read(d.t.Context(), "check", 1000, 0)
		if err != nil {
			d.t.Fatal(err)
		}
		if len(batch) == 0 {
			break
		}
		for _, c := range batch {
			if c.New != nil && c.New.Status == string(events.Succeeded) && (c.Old == nil || c.Old.Status != c.New.Status) {
				if ended[c.ID]++; ended[c.ID] > 1 {
					d.t.Errorf("job %s succeeded twice", c.ID)
				}
			}
		}
		if err := p.Changes.Commit(d.t.Context(), "check", batch[len(batch)-1].Position); err != nil {
			d.t.Fatal(err)
		}
	}
}
