package main

import (
	"fmt"
	"math"
	"time"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// shape is a product x [M,K]·wᵀ, w [N,K].
type shape struct {
	name    string
	m, k, n int
}

// productShapes are the linear layers of SD 1.5 at 512×512, two samples (a
// guided step), and of its text encoder.
var productShapes = []shape{
	{"attention 64²", 8192, 320, 320}, {"GEGLU 64²", 8192, 320, 2560}, {"ff 64²", 8192, 1280, 320}, {"cross keys 64²", 154, 768, 320},
	{"attention 32²", 2048, 640, 640}, {"GEGLU 32²", 2048, 640, 5120}, {"ff 32²", 2048, 2560, 640}, {"cross keys 32²", 154, 768, 640},
	{"attention 16²", 512, 1280, 1280}, {"GEGLU 16²", 512, 1280, 10240}, {"ff 16²", 512, 5120, 1280}, {"cross keys 16²", 154, 768, 1280},
	{"attention 8²", 128, 1280, 1280}, {"GEGLU 8²", 128, 1280, 10240}, {"ff 8²", 128, 5120, 1280},
	{"text attention", 154, 768, 768}, {"text mlp up", 154, 768, 3072}, {"text mlp down", 154, 3072, 768},
}

// numbers are the same as in peers/products.py.
func numbers(n int, seed uint32) []float32 {
	x := make([]float32, n)
	for j := range x {
		i := uint32(j) + seed
		i = (i * 2654435761) ^ (i >> 15)
		x[j] = float32(i>>8)/(1<<24) - 0.5
	}
	return x
}

// benchProducts multiplies beside NumPy's OpenBLAS.
func benchProducts(b *bench) ([]row, error) {
	p, err := startPeer(b.python, "products.py", b.threads)
	if err != nil {
		return nil, err
	}
	defer p.close()
	var rows []row
	logs := 0.0
	for _, s := range productShapes {
		r, err := b.product(p, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		logs += math.Log(r.Ratio)
		rows = append(rows, r)
	}
	mean := math.Exp(logs / float64(len(rows)))
	return append(rows, row{Name: "products: geometric mean", Ours: mean, Peer: 1, Unit: "ratio", Ratio: mean, With: "NumPy's OpenBLAS"}), nil
}

func (b *bench) product(p *peer, s shape) (row, error) {
	dev := b.pool.Device
	x := b.pool.FromFloat32(numbers(s.m*s.k, 1), s.m, s.k)
	y := b.pool.New(device.F32, s.m, s.n)
	defer x.Release()
	defer y.Release()
	w, err := dev.Freeze(device.HostWeight{Type: device.F32, Shape: []int{s.n, s.k}, Data: bytesOf(numbers(s.n*s.k, 2))})
	if err != nil {
		return row{}, err
	}
	defer dev.Thaw(w)
	flop := 2 * float64(s.m) * float64(s.k) * float64(s.n)
	times := max(1, int(2e10/flop))
	run := func() float64 {
		begin := time.Now()
		for range times {
			dev.Linear(y.Matrix(), x.Matrix(), w, nil, device.Epilogue{})
		}
		dev.Sync()
		return time.Since(begin).Seconds() / float64(times)
	}
	var answer struct {
		Seconds float64   `json:"seconds"`
		Picks   []float32 `json:"picks"`
	}
	ask := func() error {
		return p.ask(map[string]int{"m": s.m, "k": s.k, "n": s.n, "times": times}, &answer)
	}
	run() // warm
	if err := ask(); err != nil {
		return row{}, err
	}
	if err := agree(y, answer.Picks); err != nil {
		return row{}, err
	}
	ours, theirs, err := alternate(b.runs, func() (float64, error) { return run(), nil }, func() (float64, error) {
		err := ask()
		return answer.Seconds, err
	})
	if err != nil {
		return row{}, err
	}
	r := faster(fmt.Sprintf("product %s [%d,%d]·[%d,%d]", s.name, s.m, s.k, s.k, s.n), "NumPy's OpenBLAS", ours, theirs)
	r.Share = flop / r.Ours / b.peak
	return r, nil
}

// agree compares every so-many-th element with the peer's.
func agree(y *tensor.Tensor, picks []float32) error {
	values := y.Float32()
	stride := max(1, len(values)/64)
	largest := 0.0
	for _, v := range values {
		largest = max(largest, math.Abs(float64(v)))
	}
	for i, want := range picks {
		if d := math.Abs(float64(values[i*stride] - want)); d > 1e-5*largest {
			return fmt.Errorf("the results differ at element %d: ours %v, the peer's %v", i*stride, values[i*stride], want)
		}
	}
	return nil
}
