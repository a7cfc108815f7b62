package servicetest

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/draw"
	"image/png"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/models"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/worker"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/local"
	"github.com/lowrank/lowrank/infra/predictions"
	"github.com/lowrank/lowrank/samples"
)

// countedBases opens the embedded base, and counts.
type countedBases struct{ opened int }

func (b *countedBases) Open(_ context.Context, name string) (*base.Base, error) {
	b.opened++
	return base.Open(name, base.Options{})
}

// cannedFiles gives files by URL.
type cannedFiles struct {
	files map[string][]byte
	dir   string
}

func (f *cannedFiles) Fetch(_ context.Context, _ *events.Job, url string) (worker.File, error) {
	data, ok := f.files[url]
	switch {
	case url == "panic:":
		panic("the fetcher is broken")
	case !ok:
		return worker.File{}, errors.New("the URL could not be downloaded: its server answered 404")
	}
	file, err := os.CreateTemp(f.dir, "fetched-*")
	if err != nil {
		return worker.File{}, err
	}
	_, err = file.Write(data)
	return worker.File{Path: file.Name(), Name: url, Size: int64(len(data)), Done: func() { os.Remove(file.Name()) }}, errors.Join(err, file.Close())
}

// engineRunner is one engine with its loops over a store.
type engineRunner struct {
	*testing.T
	ports  infra.Ports
	store  *predictions.Store
	bases  countedBases
	engine *models.Engine
	files  *cannedFiles
}

// startEngine runs loops on both queues that share one engine.
func startEngine(t *testing.T) *engineRunner {
	t.Helper()
	s, err := local.Open(t.Context(), t.TempDir(), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := &engineRunner{T: t, ports: s.Ports(), store: predictions.New(s.Ports()), files: &cannedFiles{map[string][]byte{}, t.TempDir()}}
	engine := &models.Engine{Pool: tensor.NewPool(dev), Bases: &r.bases}
	r.engine = engine
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	for _, q := range []string{infra.PredictionQueue, infra.TrainingQueue} {
		l := &worker.Loop{Ports: r.ports, Queue: q, Programs: engine.Programs(), Most: engine.Most(), Together: engine.Together,
			Fetcher: r.files, Scratch: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
		go func() {
			if err := l.Run(ctx); err != nil {
				t.Error(err)
			}
			done <- struct{}{}
		}()
	}
	t.Cleanup(func() {
		stop()
		<-done
		<-done
		engine.Release()
	})
	return r
}

// do runs a job to its end.
func (r *engineRunner) do(p events.Program, input string) events.Job {
	r.Helper()
	return r.wait(r.send(p, input))
}

// send queues a job.
func (r *engineRunner) send(p events.Program, input string) events.JobID {
	r.Helper()
	j := events.Job{
		ID: events.JobID(events.NewID()), Owner: "me", Model: "replicate/x", Version: "x", Program: p, Base: embedded.Name, Seed: 7,
		Input: []byte(input), OutputSecret: events.NewSecret(), OutputTemp: "tmpabcdefgh", StreamSecret: events.NewSecret(),
		Status: events.Starting, CreatedAt: events.At(time.Now()), Links: events.Links{API: "http://h", Outputs: "http://h"},
	}
	if err := errors.Join(r.store.Create(r.Context(), &j), r.store.Enqueue(r.Context(), j.ID, p)); err != nil {
		r.Fatal(err)
	}
	return j.ID
}

// wait returns a job once it has ended.
func (r *engineRunner) wait(id events.JobID) events.Job {
	r.Helper()
	for {
		now, err := r.store.Load(r.Context(), id)
		if err != nil {
			r.Fatal(err)
		}
		if now.Status.Terminal() {
			return now
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// outputs runs a job that must succeed and returns its files and its log.
func (r *engineRunner) outputs(p events.Program, input string) (files [][]byte, log string) {
	r.Helper()
	return r.made(r.do(p, input))
}

// made are the files and the log of a job that must have succeeded.
func (r *engineRunner) made(j events.Job) (files [][]byte, log string) {
	r.Helper()
	if j.Status != events.Succeeded {
		r.Fatalf("%s: %s", j.Status, j.Error)
	}
	for _, o := range j.Outputs {
		b, err := r.ports.Blobs.Get(r.Context(), o.Key, infra.GetOptions{})
		if err != nil {
			r.Fatal(err)
		}
		data, err := io.ReadAll(b.Body)
		b.Body.Close()
		if err != nil {
			r.Fatal(err)
		}
		files = append(files, data)
	}
	log, err := r.store.Log(r.Context(), &j)
	if err != nil {
		r.Fatal(err)
	}
	return files, log
}

const quick = `"prompt":"a cat","num_inference_steps":3`

// The programs of gpurunner/models, in the job loop, on the embedded base.
func TestDraw(t *testing.T) {
	r := startEngine(t)
	two, log := r.outputs(events.ProgramLora, `{`+quick+`,"num_outputs":2}`)
	if len(two) != 2 || bytes.Equal(two[0], two[1]) || !bytes.HasPrefix(two[0], []byte("\x89PNG")) || !bytes.Contains(two[0], []byte("a cat")) {
		t.Errorf("made %d pictures, the first %.40q", len(two), two)
	}
	if !strings.HasPrefix(log, "Using seed: 7\n") || !strings.Contains(log, "100%|██████████| 6/6") {
		t.Errorf("log %q", log)
	}
	again, _ := r.outputs(events.ProgramLora, `{`+quick+`,"num_outputs":2}`)
	if !slices.EqualFunc(two, again, bytes.Equal) {
		t.Error("the same job made other pictures")
	}
	if r.bases.opened != 1 {
		t.Errorf("the base was opened %d times", r.bases.opened)
	}

	// A job that panics takes nothing with it: the next one draws the same.
	if j := r.do(events.ProgramLora, `{`+quick+`,"lora_urls":"panic:"}`); j.Status != events.Failed || !strings.Contains(j.Error, "internal error") {
		t.Errorf("%s %q", j.Status, j.Error)
	}
	again, _ = r.outputs(events.ProgramLora, `{`+quick+`,"num_outputs":2}`)
	if !slices.EqualFunc(two, again, bytes.Equal) {
		t.Error("after a panic the same job made other pictures")
	}
	if r.bases.opened != 2 {
		t.Errorf("after a panic the base was opened %d times, want anew", r.bases.opened)
	}
}

// A training makes a concept under the zip's name, the same for the same job, and
// drawing with it makes another picture; without it, the one from before.
func TestTrainAndDraw(t *testing.T) {
	r := startEngine(t)
	zip, err := samples.Zip(samples.Lowie)
	if err != nil {
		t.Fatal(err)
	}
	r.files.files["lowie.zip"] = zip
	const train = `{"instance_data":"lowie.zip","max_train_steps_ti":2,"max_train_steps_tuning":2,"train_batch_size":1,"gradient_accumulation_steps":1}`
	before, _ := r.outputs(events.ProgramLora, `{`+quick+`}`)
	concept, log := r.outputs(events.ProgramAdvancedTraining, train)
	again, _ := r.outputs(events.ProgramAdvancedTraining, train)
	if len(concept) != 1 || !bytes.Equal(concept[0], again[0]) {
		t.Error("the same training made another file")
	}
	if !strings.Contains(log, "Using seed: 7") || !strings.Contains(log, "2/2") {
		t.Errorf("log %q", log)
	}
	r.files.files["lowie.safetensors"] = concept[0]
	with, _ := r.outputs(events.ProgramLora, `{"prompt":"<1> on a hill","num_inference_steps":3,"lora_urls":"lowie.safetensors","lora_scales":"1"}`)
	twice, _ := r.outputs(events.ProgramLora, `{"prompt":"<1> on a hill","num_inference_steps":3,"lora_urls":"lowie.safetensors | lowie.safetensors","lora_scales":"1|0"}`)
	if d := apart(t, with[0], twice[0]); d > 2 { // the sums are rounded in another order
		t.Errorf("a concept at scale 0 changed a pixel by %d of 255", d)
	}
	after, _ := r.outputs(events.ProgramLora, `{`+quick+`}`)
	if !bytes.Equal(before[0], after[0]) || bytes.Equal(before[0], with[0]) {
		t.Error("the concept stayed on the base, or was never there")
	}
}

// apart is by how much two pictures differ at most.
func apart(t *testing.T, a, b []byte) (most int) {
	t.Helper()
	var pix [2][]uint8
	for i, file := range [][]byte{a, b} {
		m, err := png.Decode(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		rgba := image.NewRGBA(m.Bounds())
		draw.Draw(rgba, m.Bounds(), m, image.Point{}, draw.Src)
		pix[i] = rgba.Pix
	}
	if len(pix[0]) != len(pix[1]) {
		t.Fatal("pictures of two sizes")
	}
	for i := range pix[0] {
		most = max(most, int(pix[0][i])-int(pix[1][i]), int(pix[1][i])-int(pix[0][i]))
	}
	return most
}

// Each bad input is one sentence that says where, without a path of this machine.
func TestBadInput(t *testing.T) {
	r := startEngine(t)
	r.files.files["page.zip"] = []byte("<html>sign in</html>")
	r.files.files["text.safetensors"] = []byte("no safetensors at all")
	r.files.files["empty.zip"] = []byte("PK\x05\x06" + strings.Repeat("\x00", 18))
	for _, c := range []struct {
		name    string
		program events.Program
		input   string
		want    string
	}{
		{"ErrURL", events.ProgramLora, `{` + quick + `,"lora_urls":"gone"}`, "lora_urls, file 1"},
		{"ErrNoConcept", events.ProgramLora, `{` + quick + `,"lora_urls":"text.safetensors"}`, "lora_urls, file 1"},
		{"ErrScales", events.ProgramLora, `{` + quick + `,"lora_urls":"gone","lora_scales":"1|2|3"}`, `"1|2|3" does not fit 1 files`},
		{"ErrScale", events.ProgramLora, `{` + quick + `,"lora_urls":"gone","lora_scales":"much"}`, `lora_scales "much"`},
		{"ErrImage", events.ProgramLora, `{` + quick + `,"image":"page.zip"}`, "image: "},
		{"ErrMaskAlone", events.ProgramLora, `{` + quick + `,"mask":"page.zip"}`, "needs an image"},
		{"ErrScheduler", events.ProgramLora, `{` + quick + `,"scheduler":"X"}`, `X`},
		{"ErrZip", events.ProgramTraining, `{"instance_data":"page.zip"}`, "instance_data: "},
		{"ErrEmptyZip", events.ProgramTraining, `{"instance_data":"empty.zip"}`, "instance_data: "},
		{"ErrData", events.ProgramTraining, `{"instance_data":"gone"}`, "instance_data: the URL could not be downloaded"},
		{"ErrTask", events.ProgramTraining, `{"instance_data":"gone","task":"x"}`, `x`},
		{"ErrFormat", events.ProgramAdvancedTraining, `{"instance_data":"gone","format":"x"}`, `x`},
		{"ErrRank", events.ProgramAdvancedTraining, `{"instance_data":"gone","lora_rank":0}`, "lora_rank"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := r.do(c.program, c.input)
			if j.Status != events.Failed || !strings.Contains(j.Error, c.want) {
				t.Errorf("%s %q, want %q", j.Status, j.Error, c.want)
			}
			if strings.Contains(j.Error, r.files.dir) || strings.Contains(j.Error, "\n") || strings.Contains(j.Error, "operator") {
				t.Errorf("no sentence for its owner: %q", j.Error)
			}
		})
	}
}
