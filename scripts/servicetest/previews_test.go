package servicetest

import (
	"bytes"
	"image"
	_ "image/png"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/samples"
)

// beside are the files under a job's output prefix that are no outputs, by name.
func (r *engineRunner) beside(j events.Job) map[string][]byte {
	r.Helper()
	list, err := r.ports.Blobs.List(r.Context(), j.OutputKeyPrefix(), "", 0)
	if err != nil {
		r.Fatal(err)
	}
	out := map[string][]byte{}
	for _, b := range list.Items {
		named := false
		for _, o := range j.Outputs {
			named = named || o.Key == b.Key
		}
		if named {
			continue
		}
		blob, err := r.ports.Blobs.Get(r.Context(), b.Key, infra.GetOptions{})
		if err != nil {
			r.Fatal(err)
		}
		data, err := io.ReadAll(blob.Body)
		blob.Body.Close()
		if err != nil {
			r.Fatal(err)
		}
		out[strings.TrimPrefix(b.Key, j.OutputKeyPrefix())] = data
	}
	return out
}

// A training draws with what it has learnt so far. That changes nothing of what it makes and no client hears of
// it; the pictures, and the losses of all steps, go when the job goes. LOWRANK_TIMES=previews trains with the
// preset, several times, and says what the pictures cost.
func TestPreviews(t *testing.T) {
	r, plain := startEngine(t), startEngine(t)
	plain.engine.NoPreviews = true
	zip, err := samples.Zip(samples.NeonSign)
	if err != nil {
		t.Fatal(err)
	}
	r.files.files["neon.zip"], plain.files.files["neon.zip"] = zip, zip
	program, input, rounds := events.ProgramAdvancedTraining, `{"instance_data":"neon.zip","use_template":"style","max_train_steps_ti":28,"max_train_steps_tuning":14,"train_text_encoder":false,"train_batch_size":8,"gradient_accumulation_steps":1}`, 1
	first := "preview-100.png"
	if os.Getenv("LOWRANK_TIMES") == "previews" {
		program, input, rounds, first = events.ProgramTraining, `{"instance_data":"neon.zip","task":"style"}`, 2, "preview-025.png"
	}
	var with, without events.Job
	for range rounds {
		without, with = plain.do(program, input), r.do(program, input)
		if with.Status != events.Succeeded || without.Status != events.Succeeded {
			t.Fatalf("%s %q, %s %q", with.Status, with.Error, without.Status, without.Error)
		}
		took := func(j events.Job) time.Duration { return j.CompletedAt.Sub(j.StartedAt.Time) }
		t.Logf("with previews %v, without %v", took(with), took(without))
	}
	if len(with.Outputs) != 1 || with.Outputs[0].SHA256 != without.Outputs[0].SHA256 {
		t.Errorf("previews change what is trained, or are outputs: %d outputs", len(with.Outputs))
	}
	files := r.beside(with)
	m, kind, err := image.Decode(bytes.NewReader(files[first]))
	if err != nil || kind != "png" || m.Bounds().Dx() != 64 {
		t.Errorf("%s: %v; there are %d files", first, err, len(files))
	}
	if rows := bytes.Count(files["loss.csv"], []byte("\n")); rows != 1+42 && rounds == 1 {
		t.Errorf("loss.csv has %d lines, want a head and one a step", rows)
	}
	for name := range plain.beside(without) {
		if strings.HasPrefix(name, "preview-") {
			t.Errorf("%s, though none were wanted", name)
		}
	}
	if err := r.store.Remove(r.Context(), with.ID); err != nil {
		t.Fatal(err)
	}
	if left := r.beside(with); len(left) > 0 {
		t.Errorf("%d files outlive their job", len(left))
	}
	// Of a job that fails nothing stays.
	bad := r.do(program, strings.Replace(input, "neon.zip", "gone", 1))
	if left := r.beside(bad); bad.Status != events.Failed || len(left) > 0 {
		t.Errorf("%s with %d files", bad.Status, len(left))
	}
}
