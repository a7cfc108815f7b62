package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/predictions"
	"github.com/lowrank/lowrank/infra/retry"
)

// Program does the work of one job. It returns soon (within two seconds) after
// ctx ended, or as soon as what it does together with other jobs lets it; the
// cause then says why, and on [ErrStopping] it saves what it needs to go on. An
// error is shown to the job's owner: one clear sentence.
type Program func(ctx context.Context, t *Task) error

// Task is what a program may do with its job. Its methods may be called from
// several goroutines, but for Output.
type Task struct {
	Dir string // an empty folder of the job's own, removed afterwards

	run     *predictions.Run
	blobs   infra.Blobs
	clock   infra.Clock
	fetcher Fetcher
	log     *slog.Logger
	outputs []events.OutputObject

	mu    sync.Mutex
	meter meter
}

// Fetcher opens what an input names.
type Fetcher interface {
	// Fetch returns a local file with the bytes of a URL in the job's input.
	// Errors are for the owner unless infra.Retryable.
	Fetch(ctx context.Context, job *events.Job, url string) (File, error)
}

// File is a fetched file. It must not be changed; Close lets go of it.
type File struct {
	Path string
	Name string // the user's name for it
	Size int64
	Done func()
}

// Close lets go of the file.
func (f File) Close() {
	if f.Done != nil {
		f.Done()
	}
}

// Job returns the job.
func (t *Task) Job() events.Job { return t.run.Job() }

// Logf adds a line to the job's log, which only its owner reads.
func (t *Task) Logf(format string, args ...any) { t.run.Logf(format, args...) }

// Fetch opens what the input names.
func (t *Task) Fetch(ctx context.Context, url string) (File, error) {
	job := t.run.Job()
	return t.fetcher.Fetch(ctx, &job, url)
}

// Output stores one of the job's results under name, the last part of its URL.
// A second run of the same job writes the same bytes under the same name.
func (t *Task) Output(ctx context.Context, name, contentType string, body io.Reader) error {
	file, err := t.spool(body)
	if err != nil {
		return err
	}
	defer os.Remove(file)
	job := t.run.Job()
	key := job.OutputKey(name)
	info, err := t.put(ctx, key, file, contentType)
	if err != nil {
		return err
	}
	t.outputs = append(t.outputs, events.OutputObject{Key: key, Size: info.Size, SHA256: info.SHA256, ContentType: contentType})
	return nil
}

// Beside stores a file beside the job's outputs that is none of them, such as a
// picture of a training under way: pages show it, clients do not hear of it, and it
// goes when the job goes. If the store does not take it that is no error.
func (t *Task) Beside(ctx context.Context, name, contentType string, body io.Reader) error {
	file, err := t.spool(body)
	if err != nil {
		return err
	}
	defer os.Remove(file)
	job := t.run.Job()
	_, err = t.put(ctx, job.OutputKey(name), file, contentType)
	if isStore(err) || errors.Is(err, infra.ErrFull) {
		t.log.Warn("a file beside the outputs was not stored", "job", job.ID, "err", err)
		return nil
	}
	return err
}

// spool writes body to a file of the job's, so that it can be sent again.
func (t *Task) spool(body io.Reader) (string, error) {
	f, err := os.CreateTemp(t.Dir, ".output-*")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, body)
	return f.Name(), errors.Join(err, f.Close())
}

// put stores a file, again if the store fails in a way that may pass.
func (t *Task) put(ctx context.Context, key, file, contentType string) (infra.BlobInfo, error) {
	return retry.Value(ctx, t.clock, func() (infra.BlobInfo, error) {
		f, err := os.Open(file)
		if err != nil {
			return infra.BlobInfo{}, permanent{err}
		}
		defer f.Close()
		return t.blobs.Put(ctx, key, f, infra.PutOptions{ContentType: contentType})
	})
}

// permanent is a failure of this machine's disk that the store's retries must not
// take for one of the store's.
type permanent struct{ error }

func (p permanent) Unwrap() []error { return []error{infra.ErrInvalid, p.error} }

// RestoreCheckpoint writes the job's last checkpoint to path, if there is one.
func (t *Task) RestoreCheckpoint(ctx context.Context, path string) error {
	key := t.run.Job().Checkpoint
	if key == "" {
		return nil
	}
	err := retry.Do(ctx, t.clock, func() error { return t.download(ctx, key, path) })
	if infra.KindOf(err) == infra.ErrNotFound {
		return nil
	}
	return err
}

// download writes a blob to a file, or leaves none.
func (t *Task) download(ctx context.Context, key, path string) error {
	blob, err := t.blobs.Get(ctx, key, infra.GetOptions{})
	if err != nil {
		return err
	}
	defer blob.Body.Close()
	f, err := os.Create(path)
	if err != nil {
		return permanent{err}
	}
	body := &reading{r: blob.Body}
	_, err = io.Copy(f, body)
	err = errors.Join(err, f.Close())
	if err == nil {
		return nil
	}
	if body.err == nil {
		err = permanent{err}
	}
	return errors.Join(err, os.Remove(path))
}

// reading remembers that it was the reader that failed.
type reading struct {
	r   io.Reader
	err error
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// SaveCheckpoint makes a file what the job goes on from. It is stored before the
// record names it, so that a record never names half a checkpoint, and the one
// before goes after that: each has a key of its own, since a store keeps all that
// was ever put under one. If the store does not take it that is no error: the job
// goes on, and after an interruption from an older one. ctx may be one that has
// not ended when the program's own has.
func (t *Task) SaveCheckpoint(ctx context.Context, path string) error {
	job := t.run.Job()
	key := job.CheckpointKeyPrefix() + rand.Text()
	_, err := t.put(ctx, key, path, "")
	if err == nil {
		err = t.run.SaveCheckpoint(ctx, key)
	}
	if isStore(err) || errors.Is(err, infra.ErrFull) {
		t.log.Warn("a checkpoint was not saved", "job", job.ID, "err", err)
		return nil
	}
	if err != nil || job.Checkpoint == "" {
		return err
	}
	if err := t.blobs.Delete(ctx, job.Checkpoint); err != nil { // goes with the job then
		t.log.Warn("a checkpoint was not removed", "job", job.ID, "err", err)
	}
	return nil
}

// meter turns steps into progress lines, at most one a second and one at the
// end of each stage.
type meter struct {
	stage        string
	begun, shown time.Time
	first        int // steps that were done when the stage began
}

// Step tells how far the job is: done of total steps of a stage. note is
// appended to the progress line, loss is kept with the record where it is not 0.
func (t *Task) Step(stage string, done, total int, loss float64, note string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	if t.meter.stage != stage {
		t.meter = meter{stage: stage, begun: now, first: max(done-1, 0)}
	}
	t.run.Progress(events.Progress{Stage: stage, Done: done, Total: total, Loss: loss})
	if done < total && now.Sub(t.meter.shown) < time.Second {
		return
	}
	t.meter.shown = now
	t.run.Log(events.ProgressLine(done, total, now.Sub(t.meter.begun), note))
}
