// Package apitest runs the API without the engine, for tests: a service in one process over the
// embedded ports, with a runner that takes jobs as a real one does but draws flat test pictures and
// writes tiny files. It is imported by tests and by scripts/clients/apiserver only.
package apitest

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/predictions"
)

// Runner takes jobs from one queue, one at a time.
type Runner struct {
	Ports infra.Ports
	Queue string
	Base  events.BaseLimits
	Train time.Duration // how long a training lasts; five times as long from 768 pixels on
	Draw  time.Duration // how long a prediction lasts
	Lease time.Duration // 0 is 30 s
	// Before, if set, is called when a job has been leased; an error of it leaves the job as a crash does.
	Before func(*predictions.Run) error
}

// errLeft stands for a runner's death: nothing more is written.
var errLeft = errors.New("the runner is gone")

// Run takes jobs until ctx ends.
func (r *Runner) Run(ctx context.Context) {
	q, store := r.Ports.Queues.Queue(r.Queue), predictions.New(r.Ports)
	lease := r.Lease
	if lease == 0 {
		lease = 30 * time.Second
	}
	for ctx.Err() == nil {
		messages, err := q.Receive(ctx, 1, 2*time.Second, lease*3/2)
		if err != nil && ctx.Err() == nil {
			_ = infra.Sleep(ctx, r.Ports.Clock, 50*time.Millisecond)
		}
		for _, m := range messages {
			r.one(ctx, q, store, m, lease)
		}
	}
}

func (r *Runner) one(ctx context.Context, q infra.Queue, store *predictions.Store, m infra.Message, lease time.Duration) {
	msg, err := events.ParseRunJob(m.Body)
	if err != nil {
		_ = q.Ack(ctx, m.Receipt)
		return
	}
	run, err := store.Start(ctx, msg.ID, lease)
	switch {
	case err == nil:
	case errors.Is(err, events.ErrTerminal), errors.Is(err, events.ErrLeased), errors.Is(err, events.ErrWaiting), errors.Is(err, infra.ErrNotFound):
		_ = q.Ack(ctx, m.Receipt)
		return
	default:
		return
	}
	err = r.work(ctx, run)
	switch {
	case ctx.Err() != nil, errors.Is(err, errLeft):
		return
	case err == nil, errors.Is(err, events.ErrTerminal), errors.Is(err, events.ErrLeaseLost), errors.Is(err, infra.ErrNotFound):
	case infra.Retryable(err) && infra.KindOf(err) == infra.ErrUnavailable && isPort(err):
		return
	default:
		if err := run.Fail(ctx, err.Error()); err != nil && infra.Retryable(err) {
			return
		}
	}
	_ = q.Ack(ctx, m.Receipt)
}

func isPort(err error) bool {
	var e *infra.Error
	return errors.As(err, &e)
}

func (r *Runner) work(ctx context.Context, run *predictions.Run) error {
	if r.Before != nil {
		if err := r.Before(run); err != nil {
			return errLeft
		}
	}
	job := run.Job()
	run.Logf("Using seed: %d", job.Seed)
	if job.Program.Trains() {
		return r.train(ctx, run, &job)
	}
	return r.draw(ctx, run, &job)
}

func (r *Runner) train(ctx context.Context, run *predictions.Run, job *events.Job) error {
	var in events.TrainingInput // the advanced input has the same names
	if err := job.DecodeInput(r.Base, &in); err != nil {
		return err
	}
	data, name, err := r.fetch(ctx, job, in.InstanceData)
	if err != nil {
		return err
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return errors.New("instance_data is no zip, or it is cut short")
	}
	images := 0
	for _, f := range z.File {
		if strings.HasSuffix(strings.ToLower(f.Name), ".png") && !strings.HasPrefix(f.Name, "__MACOSX") {
			images++
		}
	}
	if images == 0 {
		return errors.New("the zip has no images")
	}
	d := r.Train
	if in.Resolution >= 768 {
		d *= 5
	}
	if err := r.steps(ctx, run, "tuning", d); err != nil {
		return err
	}
	o, err := r.put(ctx, job, job.TrainedName(name), "application/octet-stream", tinyTensors(data, job.Seed))
	if err != nil {
		return err
	}
	return run.Succeed(ctx, o)
}

func (r *Runner) draw(ctx context.Context, run *predictions.Run, job *events.Job) error {
	var in events.LoraInput
	if err := job.DecodeInput(r.Base, &in); err != nil {
		return err
	}
	for _, u := range events.SplitList(in.LoraURLs) {
		data, _, err := r.fetch(ctx, job, u)
		if err != nil {
			return err
		}
		if len(data) < 9 || data[8] != '{' {
			return errors.New("lora_urls: that is no safetensors file")
		}
	}
	if err := r.steps(ctx, run, "sampling", r.Draw); err != nil {
		return err
	}
	var outputs []events.OutputObject
	for i := range in.NumOutputs {
		o, err := r.put(ctx, job, fmt.Sprintf("out-%d.png", i), "image/png", picture(in.Width, in.Height, job.Seed+int64(i), in.Prompt))
		if err != nil {
			return err
		}
		outputs = append(outputs, o)
	}
	return run.Succeed(ctx, outputs...)
}

// steps waits in ten steps, looking at the record as a runner does.
func (r *Runner) steps(ctx context.Context, run *predictions.Run, stage string, d time.Duration) error {
	const steps = 10
	begun := time.Now()
	for i := 1; i <= steps; i++ {
		run.Progress(events.Progress{Stage: stage, Done: i, Total: steps})
		run.Log(events.ProgressLine(i, steps, time.Since(begun), ""))
		for wait := d / steps; ; wait -= time.Second {
			if err := infra.Sleep(ctx, r.Ports.Clock, min(wait, time.Second)); err != nil {
				return err
			}
			if err := run.Beat(ctx); err != nil {
				return err
			}
			if wait <= time.Second {
				break
			}
		}
	}
	return nil
}

func (r *Runner) put(ctx context.Context, job *events.Job, name, contentType string, data []byte) (events.OutputObject, error) {
	key := job.OutputKey(name)
	info, err := r.Ports.Blobs.Put(ctx, key, bytes.NewReader(data), infra.PutOptions{ContentType: contentType})
	return events.OutputObject{Key: key, Size: info.Size, SHA256: info.SHA256, ContentType: contentType}, err
}

// fetch reads what an input names: our own from the store, data: as it is, the rest over HTTP.
func (r *Runner) fetch(ctx context.Context, job *events.Job, u string) (data []byte, name string, err error) {
	for _, s := range job.Sources {
		if s.URL != u {
			continue
		}
		b, err := r.Ports.Blobs.Get(ctx, s.Key, infra.GetOptions{Generation: s.Generation})
		if errors.Is(err, infra.ErrNotFound) {
			return nil, "", fmt.Errorf("%s is not there any more", s.Name)
		}
		if err != nil {
			return nil, "", err
		}
		defer b.Body.Close()
		data, err = io.ReadAll(b.Body)
		return data, s.Name, err
	}
	if _, data, ok := events.ParseDataURL(u); ok {
		return data, "data", nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, "", errors.New("the URL cannot be read")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", errors.New("the URL could not be downloaded")
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, "", errors.New("the URL could not be downloaded")
	}
	return data, u[strings.LastIndex(u, "/")+1:], nil
}

// tinyTensors is a whole safetensors file of one tensor, which follows from the zip and the seed.
func tinyTensors(zip []byte, seed int64) []byte {
	h := fnv.New64a()
	h.Write(zip)
	header := `{"__metadata__":{"<s1>":"<embed>"},"unet:0:up":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`
	for len(header)%8 != 0 {
		header += " "
	}
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	out = append(out, header...)
	return binary.LittleEndian.AppendUint64(out, h.Sum64()^uint64(seed))
}

func picture(w, h int, seed int64, prompt string) []byte {
	f := fnv.New32a()
	fmt.Fprintf(f, "%d %s", seed, prompt)
	c := f.Sum32()
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetRGBA(x, y, color.RGBA{uint8(int(c) + x*255/w), uint8(int(c>>8) + y*255/h), uint8(int(c>>16) + x ^ y), 255})
		}
	}
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&b, m); err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}
