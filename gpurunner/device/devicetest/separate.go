package devicetest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// testSeparate holds a device.Separate to its word: each sample of a batch has
// the bits that it has alone.
func testSeparate(t *testing.T, open func() device.Device, coarse bool) {
	dev := open()
	defer closeDevice(dev)
	if s, ok := dev.(device.Separate); !ok || !s.Separate() {
		t.Skipf("%s cuts sums by the size of the whole call", dev.Name())
	}
	for _, c := range separateCases() {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, dev)
			r.coarse = coarse
			c.test(r)
		})
	}
}

type separateCase struct {
	name string
	test func(*rig)
}

// batch is how many samples there are together.
const batch = 7

// apart compares the results of one call for a batch with those of calls for
// some of its samples each. f computes samples first to first+n; what it returns
// is theirs.
func (r *rig) apart(f func(first, n int) device.Array) {
	r.Helper()
	together := r.bytes(f(0, batch))
	for _, cut := range [][]int{{1, 1, 1, 1, 1, 1, 1}, {2, 5}, {4, 3}} {
		first := 0
		for _, n := range cut {
			got := r.bytes(f(first, n))
			size := len(together) / batch
			if !bytes.Equal(got, together[first*size:(first+n)*size]) {
				r.Errorf("samples %d to %d of %d have other bits when they are computed as %d", first, first+n-1, batch, n)
			}
			first += n
		}
	}
}

func (r *rig) bytes(a device.Array) []byte {
	b := make([]byte, a.Len*4)
	r.Download(b, a)
	return b
}

func separateCases() (cases []separateCase) {
	add := func(name string, f func(*rig)) { cases = append(cases, separateCase{name, f}) }
	for i, s := range [][4]int{ // rows of a sample, outputs, inputs, rank
		{1, 128, 512, 0}, {1, 128, 512, 8}, // a time embedding
		{77, 64, 96, 0}, {77, 64, 96, 4}, // a prompt
		{4, 320, 640, 0}, {4, 320, 640, 16}, {16, 70, 70, 0}, {16, 70, 70, 1}, {64, 256, 128, 8}, {256, 96, 64, 0}, {256, 64, 96, 8},
		{20, 33, 1025, 0}, {20, 33, 1025, 130}, // ends in the middle of every tile
	} {
		typ := storageTypes[i%len(storageTypes)]
		add(fmt.Sprintf("Linear %v %v", typ, s), func(r *rig) { separateLinear(r, typ, s[0], s[1], s[2], s[3]) })
	}
	for i, s := range [][3]int{{1, 128, 512}, {4, 70, 90}, {20, 96, 300}, {64, 33, 64}, {77, 40, 1025}} { // rows of a sample, outputs, inputs
		typ := storageTypes[i%len(storageTypes)]
		add(fmt.Sprintf("Shares %v %v", typ, s), func(r *rig) { separateShares(r, typ, s[0], s[1], s[2]) })
	}
	for _, s := range [][3]int{{1, 16, 512}, {77, 4, 96}, {64, 8, 320}, {256, 130, 64}} {
		add(fmt.Sprintf("MatMul %v", s), func(r *rig) { separateMatMul(r, s[0], s[1], s[2]) })
	}
	for _, g := range []device.ConvGeom{
		square(1, 16, 16, 64, 64, 3, 1, 1), square(1, 8, 8, 128, 192, 3, 1, 1), square(1, 4, 4, 128, 128, 3, 1, 1),
		square(1, 2, 2, 64, 64, 3, 1, 1), square(1, 9, 7, 65, 40, 3, 1, 1), square(1, 16, 16, 4, 64, 3, 1, 1),
		square(1, 16, 16, 64, 4, 3, 1, 1), square(1, 16, 16, 64, 64, 3, 2, 1), square(1, 12, 12, 64, 96, 1, 1, 0),
		stretched(square(1, 4, 4, 64, 64, 3, 1, 1), 8, 8), square(1, 24, 20, 32, 32, 3, 1, 1),
	} {
		for _, rank := range []int{0, 6} {
			add(fmt.Sprintf("Conv %dx%dx%d to %d, kernel %d, stride %d, rank %d", g.H, g.W, g.C, g.O, g.KH, g.Stride, rank), func(r *rig) { separateConv(r, g, rank) })
		}
	}
	for _, g := range []device.AttentionGeom{
		{Heads: 2, Dim: 32, TQ: 256, TK: 256, Scale: 0.2}, {Heads: 4, Dim: 40, TQ: 64, TK: 77, Scale: 0.2}, {Heads: 3, Dim: 16, TQ: 4, TK: 300, Scale: 0.25},
	} {
		add(fmt.Sprintf("Attention %d to %d", g.TQ, g.TK), func(r *rig) { separateAttention(r, g) })
	}
	add("Norms", separateNorms)
	return cases
}

func separateLinear(r *rig, typ device.DType, rows, outs, ins, rank int) {
	w, _ := r.freeze(typ, r.normals(outs*ins), outs, ins)
	x, res := r.place(r.normals(batch*rows*ins)).Matrix(batch*rows, ins), r.place(r.normals(batch*rows*outs)).Matrix(batch*rows, outs)
	h, up := r.place(r.normals(batch*rows*rank)).Matrix(batch*rows, rank), r.place(r.normals(outs*rank)).Matrix(outs, rank)
	bias := r.place(r.normals(outs))
	r.apart(func(first, n int) device.Array {
		y := r.empty(n * rows * outs)
		var lows []device.Low
		if rank > 0 {
			lows = []device.Low{{H: h.RowRange(first*rows, n*rows), Up: up}}
		}
		r.Linear(y.Matrix(n*rows, outs), x.RowRange(first*rows, n*rows), w, lows,
			device.Epilogue{Bias: bias, Residual: res.RowRange(first*rows, n*rows)})
		return y
	})
}

// separateShares gives each sample low-rank terms of its own, of few and of many
// ranks, one or several or none.
func separateShares(r *rig, typ device.DType, rows, outs, ins int) {
	w, _ := r.freeze(typ, r.normals(outs*ins), outs, ins)
	x, res := r.place(r.normals(batch*rows*ins)).Matrix(batch*rows, ins), r.place(r.normals(batch*rows*outs)).Matrix(batch*rows, outs)
	bias := r.place(r.normals(outs))
	ranks := [batch][]int{{8}, {}, {1, 30}, {60}, {}, {70}, {16, 60}}
	var terms [batch][]device.Low
	for i, own := range ranks {
		for _, rank := range own {
			terms[i] = append(terms[i], device.Low{H: r.place(r.normals(rows*rank)).Matrix(rows, rank), Up: r.place(r.normals(outs*rank)).Matrix(outs, rank)})
		}
	}
	r.apart(func(first, n int) device.Array {
		y := r.empty(n * rows * outs)
		var lows []device.Low
		for i := range n {
			for _, l := range terms[first+i] {
				l.From = i * rows
				lows = append(lows, l)
			}
		}
		r.Linear(y.Matrix(n*rows, outs), x.RowRange(first*rows, n*rows), w, lows,
			device.Epilogue{Bias: bias, Residual: res.RowRange(first*rows, n*rows)})
		return y
	})
}

func separateMatMul(r *rig, rows, outs, ins int) {
	x, down := r.place(r.normals(batch*rows*ins)).Matrix(batch*rows, ins), r.place(r.normals(outs*ins)).Matrix(outs, ins)
	r.apart(func(first, n int) device.Array {
		y := r.empty(n * rows * outs)
		r.MatMul(y.Matrix(n*rows, outs), x.RowRange(first*rows, n*rows), down, false, true, 0.75, device.Epilogue{})
		return y
	})
}

func separateConv(r *rig, g device.ConvGeom, rank int) {
	w, _ := r.freeze(device.F16, r.normals(g.O*g.C*g.KH*g.KW), g.O, g.C, g.KH, g.KW)
	from, to := g.H*g.W*g.C, g.OutH()*g.OutW()
	x, res := r.place(r.normals(batch*from)), r.place(r.normals(batch*to*g.O)).Matrix(batch*to, g.O)
	vector, bias := r.place(r.normals(batch*g.O)).Matrix(batch, g.O), r.place(r.normals(g.O))
	h, up := r.place(r.normals(batch*to*rank)).Matrix(batch*to, rank), r.place(r.normals(g.O*rank)).Matrix(g.O, rank)
	r.apart(func(first, n int) device.Array {
		y, g := r.empty(n*to*g.O), g
		g.N = n
		var lows []device.Low
		if rank > 0 {
			lows = []device.Low{{H: h.RowRange(first*to, n*to), Up: up}}
		}
		r.Conv(y, x.Slice(first*from, n*from), w, g, lows,
			device.Epilogue{Bias: bias, RowVector: vector.RowRange(first, n), RowsPerImage: to, Residual: res.RowRange(first*to, n*to)})
		return y
	})
}

func separateAttention(r *rig, g device.AttentionGeom) {
	width := g.Heads * g.Dim
	nq, nk := batch*g.TQ, batch*g.TK
	q, k, v := r.place(r.normals(nq*width)).Matrix(nq, width), r.place(r.normals(nk*width)).Matrix(nk, width), r.place(r.normals(nk*width)).Matrix(nk, width)
	r.apart(func(first, n int) device.Array {
		o, g := r.empty(n*g.TQ*width), g
		g.Batch = n
		r.Attention(o.Matrix(n*g.TQ, width), device.Array{}, q.RowRange(first*g.TQ, n*g.TQ), k.RowRange(first*g.TK, n*g.TK), v.RowRange(first*g.TK, n*g.TK), g)
		return o
	})
}

func separateNorms(r *rig) {
	for _, g := range []device.NormGeom{{Pixels: 256, C: 64, Groups: 32, Eps: 1e-5}, {Pixels: 1500, C: 96, Groups: 8, Eps: 1e-6}, {Pixels: 4, C: 40, Groups: 4, Eps: 1e-5}} {
		size := g.Pixels * g.C
		x, gamma, beta := r.place(r.normals(batch*size)), r.place(r.normals(g.C)), r.place(r.normals(g.C))
		r.apart(func(first, n int) device.Array {
			y, g := r.empty(n*size), g
			g.N = n
			r.GroupNorm(y, r.empty(n*g.Groups*2), x.Slice(first*size, n*size), gamma, beta, g, true)
			return y
		})
		r.apart(func(first, n int) device.Array {
			y, rows := r.empty(n*size), n*g.Pixels
			r.LayerNorm(y.Matrix(rows, g.C), r.empty(2*rows), x.Slice(first*size, n*size).Matrix(rows, g.C), gamma, beta, 1e-5)
			return y
		})
		r.apart(func(first, n int) device.Array {
			y, rows := r.empty(n*size/2), n*g.Pixels
			r.GEGLU(y.Matrix(rows, g.C/2), x.Slice(first*size, n*size).Matrix(rows, g.C))
			return y
		})
		r.apart(func(first, n int) device.Array {
			y := r.empty(n * size)
			r.Activate(device.SiLU, y, x.Slice(first*size, n*size))
			return y
		})
	}
}
