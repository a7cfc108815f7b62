package train

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// CheckpointError says why a checkpoint cannot be gone on from.
type CheckpointError struct{ Path, Reason string }

func (e *CheckpointError) Error() string {
	return fmt.Sprintf("the checkpoint %s %s; delete it, or train without resuming, to begin anew", e.Path, e.Reason)
}

// SaveError says that a checkpoint could not be written.
type SaveError struct{ Err error }

func (e *SaveError) Error() string {
	return fmt.Sprintf("progress could not be kept: %v", e.Err)
}

func (e *SaveError) Unwrap() error { return e.Err }

// checkpoint is everything of a run that is not in its job: parameters, AdamW's
// moments, gathered gradients, rows, and how far it got. Nothing random is in
// it, since every draw is a function of seed and step.
type checkpoint struct {
	phase        Phase
	done         int // steps of the phase
	updates      int
	value, m, v  []float32
	grad         []float32
	rows         [][]float32
	curve        Curve
	optionsHash  string
	picturesHash string
	base         string
	precision    string // of the operands of products: "f32"
}

const (
	checkpointVersion = "2"
	curveColumns      = 6
)

// identity is what must be equal for a checkpoint to be gone on from.
func (r *run) identity() *checkpoint {
	id := &checkpoint{optionsHash: r.Options.Hash(), base: r.BaseID, precision: device.F32.String()}
	if r.Data != nil {
		id.picturesHash = r.Data.Hash()
	}
	if r.Class != nil {
		id.picturesHash += "+" + r.Class.Hash()
	}
	if d, ok := r.Model.Pool.Device.(device.Precise); ok {
		id.precision = d.Precision().String()
	}
	return id
}

// save writes a checkpoint. The file appears whole or not at all.
func (r *run) save() error {
	if r.Checkpoint == "" {
		return nil
	}
	if r.id == nil {
		r.id = r.identity()
	}
	f32 := func(name string, v []float32) safetensors.Entry {
		return safetensors.FromFloat32s(name, safetensors.F32, []int{len(v)}, v)
	}
	entries := []safetensors.Entry{
		f32("value", r.opt.slab.Value.Float32()), f32("grad", r.opt.slab.Grad.Float32()), f32("m", r.opt.m.Float32()), f32("v", r.opt.v.Float32()),
		{Info: safetensors.Info{Name: "curve", DType: safetensors.F64, Shape: []int{len(r.curve), curveColumns}}, Data: r.curve.bytes()},
	}
	for e, rows := range r.words.rows {
		entries = append(entries, f32(fmt.Sprintf("rows.%d", e), rows))
	}
	meta := map[string]string{
		"lowrank.checkpoint": checkpointVersion, "phase": r.phase.String(), "step": strconv.Itoa(r.done), "updates": strconv.Itoa(r.opt.t),
		"options": r.id.optionsHash, "pictures": r.id.picturesHash, "base": r.id.base, "precision": r.id.precision,
	}
	if err := safetensors.WriteFile(r.Checkpoint, entries, meta); err != nil {
		return &SaveError{err}
	}
	if r.Saved != nil {
		return r.Saved(r.Checkpoint)
	}
	return nil
}

// resume reads the checkpoint that there may be, and puts the run where it
// stood. The slab follows when the phase has made one: see restore.
func (r *run) resume() error {
	if r.Checkpoint == "" {
		return nil
	}
	if r.Compat {
		return errors.New("a run in compatibility mode keeps no checkpoints")
	}
	removePartial(r.Checkpoint)
	if !r.Resume {
		return nil
	}
	c, err := readCheckpoint(r.Checkpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &CheckpointError{r.Checkpoint, "cannot be read (" + err.Error() + ")"}
	}
	id := r.identity()
	switch {
	case c.base != id.base:
		return &CheckpointError{r.Checkpoint, "was made with another base model"}
	case c.optionsHash != id.optionsHash:
		return &CheckpointError{r.Checkpoint, "was made with other options"}
	case c.picturesHash != id.picturesHash:
		return &CheckpointError{r.Checkpoint, "was made with other pictures or captions"}
	case c.precision != id.precision:
		return &CheckpointError{r.Checkpoint, fmt.Sprintf("was made with the precision %s, and this run has %s", c.precision, id.precision)}
	case c.done > r.steps(c.phase) || len(c.rows) != len(r.words.rows):
		return &CheckpointError{r.Checkpoint, "does not belong to this job"}
	}
	for e, rows := range c.rows {
		if len(rows) != len(r.words.rows[e]) {
			return &CheckpointError{r.Checkpoint, "does not belong to this base model"}
		}
	}
	r.phase, r.done, r.words.rows, r.curve, r.restored = c.phase, c.done, c.rows, c.curve, c
	r.beganAt = c.done
	if c.phase == Tuning {
		r.beganAt += r.steps(Inversion)
	}
	r.Log("going on from a checkpoint: step %d of %d of the %s", c.done, r.steps(c.phase), c.phase)
	return nil
}

// restore puts the checkpoint's numbers into the phase's slab.
func (r *run) restore() error {
	c := r.restored
	if c == nil {
		return nil
	}
	r.restored = nil
	if c.phase != r.phase {
		return nil
	}
	n := r.opt.slab.Value.Len()
	for _, part := range [][]float32{c.value, c.grad, c.m, c.v} {
		if len(part) != n {
			return &CheckpointError{r.Checkpoint, fmt.Sprintf("holds %d parameters where the job has %d", len(part), n)}
		}
	}
	r.opt.slab.Value.SetFloat32(c.value)
	r.opt.slab.Grad.SetFloat32(c.grad)
	r.opt.m.SetFloat32(c.m)
	r.opt.v.SetFloat32(c.v)
	r.opt.t = c.updates
	r.opt.slab.Repack()
	return nil
}

func readCheckpoint(path string) (*checkpoint, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	meta := f.Metadata()
	if v := meta["lowrank.checkpoint"]; v != checkpointVersion {
		return nil, fmt.Errorf("version %q is not %s", v, checkpointVersion)
	}
	c := &checkpoint{optionsHash: meta["options"], picturesHash: meta["pictures"], base: meta["base"], precision: meta["precision"]}
	switch meta["phase"] {
	case Inversion.String():
		c.phase = Inversion
	case Tuning.String():
		c.phase = Tuning
	default:
		return nil, fmt.Errorf("phase %q is not known", meta["phase"])
	}
	var err1, err2 error
	c.done, err1 = strconv.Atoi(meta["step"])
	c.updates, err2 = strconv.Atoi(meta["updates"])
	if err1 != nil || err2 != nil || c.done < 0 || c.updates < 0 {
		return nil, errors.New("it has no step")
	}
	for _, part := range []struct {
		name string
		into *[]float32
	}{{"value", &c.value}, {"grad", &c.grad}, {"m", &c.m}, {"v", &c.v}} {
		t, ok := f.Lookup(part.name)
		if !ok {
			return nil, fmt.Errorf("it lacks %q", part.name)
		}
		if *part.into, err = t.Float32(); err != nil {
			return nil, err
		}
	}
	for e := 0; ; e++ {
		t, ok := f.Lookup(fmt.Sprintf("rows.%d", e))
		if !ok {
			break
		}
		rows, err := t.Float32()
		if err != nil {
			return nil, err
		}
		c.rows = append(c.rows, rows)
	}
	t, ok := f.Lookup("curve")
	if !ok || t.DType != safetensors.F64 || len(t.Shape) != 2 || t.Shape[1] != curveColumns {
		return nil, errors.New("it has no loss curve")
	}
	c.curve = curveOf(t.Bytes())
	return c, nil
}

// bytes are the curve's numbers as little-endian float64.
func (c Curve) bytes() []byte {
	var out []byte
	for _, p := range c {
		validated := 0.0
		if p.Validated {
			validated = 1
		}
		for _, v := range [curveColumns]float64{float64(p.Phase), float64(p.Step), p.Loss, p.Rate, p.Validation, validated} {
			out = binary.LittleEndian.AppendUint64(out, math.Float64bits(v))
		}
	}
	return out
}

func curveOf(b []byte) Curve {
	var c Curve
	for ; len(b) >= 8*curveColumns; b = b[8*curveColumns:] {
		at := func(i int) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:])) }
		c = append(c, Point{Phase: Phase(at(0)), Step: int(at(1)), Loss: at(2), Rate: at(3), Validation: at(4), Validated: at(5) != 0})
	}
	return c
}

// removePartial clears away what a process that was killed while it wrote the
// checkpoint has left beside it.
func removePartial(path string) {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Clean(dir + "."))
	if err != nil {
		return
	}
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, "."+base+".") && strings.HasSuffix(name, ".partial") && e.Type().IsRegular() {
			os.Remove(filepath.Join(dir, name))
		}
	}
}
