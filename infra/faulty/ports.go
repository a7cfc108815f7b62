package faulty

import (
	"context"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// Wrap returns p with faults, and what controls them. The clock stays as it is.
func Wrap(p infra.Ports, plan Plan) (infra.Ports, *Faults) {
	f := &Faults{plan: plan, calls: map[string]uint64{}, counts: map[string]int{}}
	mark := p.Mark
	if mark != nil {
		mark = func(ctx context.Context) (int64, error) {
			return call(ctx, f, "mark", func() (int64, error) { return p.Mark(ctx) })
		}
	}
	return infra.Ports{
		Blobs:     &blobs{p.Blobs, f},
		Presigner: &presigner{p.Presigner, f},
		Queues:    &queues{p.Queues, f},
		Jobs:      &jobs{p.Jobs, f},
		Index:     &index{p.Index, f},
		Logs:      &logs{p.Logs, f},
		Changes:   &changes{p.Changes, f},
		Documents: &documents{p.Documents, f},
		Events:    &events{p.Events, f},
		Clock:     p.Clock,
		Mark:      mark,
	}, f
}

type presigner struct {
	to infra.Presigner
	f  *Faults
}

func (p *presigner) PresignPut(ctx context.Context, key string, ttl time.Duration, maxSize int64) (string, error) {
	return call(ctx, p.f, "presigner.PresignPut", func() (string, error) { return p.to.PresignPut(ctx, key, ttl, maxSize) })
}

type jobs struct {
	to infra.Jobs
	f  *Faults
}

func (j *jobs) Create(ctx context.Context, r infra.Record) (infra.Record, error) {
	return call(ctx, j.f, "jobs.Create", func() (infra.Record, error) { return j.to.Create(ctx, r) })
}

func (j *jobs) Get(ctx context.Context, id string) (infra.Record, error) {
	return call(ctx, j.f, "jobs.Get", func() (infra.Record, error) { return j.to.Get(ctx, id) })
}

func (j *jobs) Update(ctx context.Context, r infra.Record) (infra.Record, error) {
	return call(ctx, j.f, "jobs.Update", func() (infra.Record, error) { return j.to.Update(ctx, r) })
}

func (j *jobs) Delete(ctx context.Context, id string, version int64) error {
	return act(ctx, j.f, "jobs.Delete", func() error { return j.to.Delete(ctx, id, version) })
}

type index struct {
	to infra.JobIndex
	f  *Faults
}

func (i *index) List(ctx context.Context, owner, kind, cursor string, limit int) (infra.Page[infra.Record], error) {
	return call(ctx, i.f, "index.List", func() (infra.Page[infra.Record], error) { return i.to.List(ctx, owner, kind, cursor, limit) })
}

func (i *index) CountOpen(ctx context.Context, owner string) (int, error) {
	return call(ctx, i.f, "index.CountOpen", func() (int, error) { return i.to.CountOpen(ctx, owner) })
}

func (i *index) ByUpload(ctx context.Context, key string) ([]infra.Record, error) {
	return call(ctx, i.f, "index.ByUpload", func() ([]infra.Record, error) { return i.to.ByUpload(ctx, key) })
}

func (i *index) Due(ctx context.Context, t time.Time, cursor string, limit int) (infra.Page[infra.Record], error) {
	return call(ctx, i.f, "index.Due", func() (infra.Page[infra.Record], error) { return i.to.Due(ctx, t, cursor, limit) })
}

type logs struct {
	to infra.Logs
	f  *Faults
}

func (l *logs) Append(ctx context.Context, id string, offset int64, chunk []byte) error {
	return act(ctx, l.f, "logs.Append", func() error { return l.to.Append(ctx, id, offset, chunk) })
}

func (l *logs) Read(ctx context.Context, id string, offset int64, max int) ([]byte, error) {
	return call(ctx, l.f, "logs.Read", func() ([]byte, error) { return l.to.Read(ctx, id, offset, max) })
}

func (l *logs) Delete(ctx context.Context, id string) error {
	return act(ctx, l.f, "logs.Delete", func() error { return l.to.Delete(ctx, id) })
}

// changes: a Commit that fails before makes its changes come again.
type changes struct {
	to infra.Changes
	f  *Faults
}

func (c *changes) Read(ctx context.Context, consumer string, max int, wait time.Duration) ([]infra.Change, error) {
	return call(ctx, c.f, "changes.Read", func() ([]infra.Change, error) { return c.to.Read(ctx, consumer, max, wait) })
}

func (c *changes) Commit(ctx context.Context, consumer, position string) error {
	return act(ctx, c.f, "changes.Commit", func() error { return c.to.Commit(ctx, consumer, position) })
}

type documents struct {
	to infra.Documents
	f  *Faults
}

func (d *documents) Get(ctx context.Context, collection, key string) (infra.Document, error) {
	return call(ctx, d.f, "documents.Get", func() (infra.Document, error) { return d.to.Get(ctx, collection, key) })
}

func (d *documents) Put(ctx context.Context, doc infra.Document) (infra.Document, error) {
	return call(ctx, d.f, "documents.Put", func() (infra.Document, error) { return d.to.Put(ctx, doc) })
}

func (d *documents) Delete(ctx context.Context, collection, key string, version int64) error {
	return act(ctx, d.f, "documents.Delete", func() error { return d.to.Delete(ctx, collection, key, version) })
}

func (d *documents) List(ctx context.Context, collection, prefix string, o infra.ListOptions) (infra.Page[infra.Document], error) {
	return call(ctx, d.f, "documents.List", func() (infra.Page[infra.Document], error) { return d.to.List(ctx, collection, prefix, o) })
}

type events struct {
	to infra.EventBus
	f  *Faults
}

func (e *events) Publish(ctx context.Context, event infra.Event) error {
	return act(ctx, e.f, "events.Publish", func() error { return e.to.Publish(ctx, event) })
}
