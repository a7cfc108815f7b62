package devicetest

import (
	"fmt"
	"hash/fnv"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// Digests runs every operation that sums or is cut into parts, at shapes with
// work for several threads, and returns a digest of each result's bits.
func Digests(t *testing.T, dev device.Device) map[string]uint64 {
	digests := map[string]uint64{}
	t.Run(dev.Name(), func(t *testing.T) {
		r := newRig(t, dev)
		add := func(name string, arrays ...device.Array) {
			h := fnv.New64a()
			for _, a := range arrays {
				b := make([]byte, a.Len*4)
				r.Download(b, a)
				h.Write(b)
			}
			digests[name] = h.Sum64()
		}
		digestProducts(r, add)
		digestAttention(r, add)
		digestNorms(r, add)
		digestRest(r, add)
	})
	return digests
}

func digestProducts(r *rig, add func(string, ...device.Array)) {
	const m, n, k, rank = 300, 200, 530, 4
	x, dy := r.place(r.normals(m*k)).Matrix(m, k), r.place(r.normals(m*n)).Matrix(m, n)
	h, up, down := r.place(r.normals(m*rank)).Matrix(m, rank), r.place(r.normals(n*rank)).Matrix(n, rank), r.place(r.normals(rank*k)).Matrix(rank, k)
	bias := r.place(r.normals(n))
	for _, typ := range storageTypes {
		w, _ := r.freeze(typ, r.normals(n*k), n, k)
		y, dx := r.empty(m*n), r.empty(m*k)
		r.Linear(y.Matrix(m, n), x, w, []device.Low{{H: h, Up: up}}, device.Epilogue{Bias: bias, Act: device.GELU})
		r.LinearBack(dx.Matrix(m, k), dy, w, []device.Low{{H: h, Up: down}}, 0)
		add("Linear "+typ.String(), y, dx)
	}
	dw, c, skinny := r.empty(n*k), r.empty(m*m), r.empty(m*rank)
	r.MatMul(dw.Matrix(n, k), dy, x, true, false, 1, device.Epilogue{})
	r.MatMul(c.Matrix(m, m), x, x, false, true, 1, device.Epilogue{})
	r.MatMul(skinny.Matrix(m, rank), x, down, false, true, 1, device.Epilogue{})
	add("MatMul", dw, c, skinny)
	for i, g := range []device.ConvGeom{
		square(2, 20, 20, 40, 70, 3, 1, 1),
		square(1, 24, 24, 64, 64, 3, 2, 1),
		stretched(square(1, 10, 10, 40, 40, 3, 1, 1), 20, 20),
		square(2, 32, 32, 4, 64, 3, 1, 1),
		square(2, 22, 22, 100, 100, 3, 1, 1),
	} {
		x, dy := r.place(r.normals(g.N*g.H*g.W*g.C)), r.place(r.normals(g.N*g.OutH()*g.OutW()*g.O))
		w, _ := r.freeze(device.F16, r.normals(g.O*g.C*9), g.O, g.C, 3, 3)
		y, dx, dw := r.empty(dy.Len), r.empty(x.Len), r.empty(g.O*g.C*9)
		r.Conv(y, x, w, g, nil, device.Epilogue{})
		r.ConvBack(dx, dy, w, g, 0)
		r.ConvWeightGrad(dw, x, dy, g, 0)
		add(fmt.Sprintf("Conv %d", i), y, dx, dw)
	}
}

func digestAttention(r *rig, add func(string, ...device.Array)) {
	for i, g := range []device.AttentionGeom{
		{Batch: 1, Heads: 1, Dim: 40, TQ: 300, TK: 600, Scale: 0.2},
		{Batch: 2, Heads: 5, Dim: 24, TQ: 200, TK: 300, Scale: 0.2},
		{Batch: 1, Heads: 4, Dim: 16, TQ: 300, TK: 300, Scale: 0.25, Causal: true},
	} {
		width := g.Heads * g.Dim
		nq, nk := g.Batch*g.TQ, g.Batch*g.TK
		q, k, v := r.place(r.normals(nq*width)).Matrix(nq, width), r.place(r.normals(nk*width)).Matrix(nk, width), r.place(r.normals(nk*width)).Matrix(nk, width)
		do := r.place(r.normals(nq*width)).Matrix(nq, width)
		o, lse := r.empty(nq*width), r.empty(g.Batch*g.Heads*g.TQ)
		dq, dk, dv := r.empty(nq*width), r.empty(nk*width), r.empty(nk*width)
		r.Attention(o.Matrix(nq, width), lse, q, k, v, g)
		r.AttentionBack(dq.Matrix(nq, width), dk.Matrix(nk, width), dv.Matrix(nk, width), do, o.Matrix(nq, width), q, k, v, lse, g)
		add(fmt.Sprintf("Attention %d", i), o, lse, dq, dk, dv)
	}
}

func digestNorms(r *rig, add func(string, ...device.Array)) {
	g := device.NormGeom{N: 2, Pixels: 1500, C: 96, Groups: 32, Eps: 1e-5}
	size := g.N * g.Pixels * g.C
	x, dy := r.place(r.normals(size)), r.place(r.normals(size))
	gamma, beta := r.place(r.normals(g.C)), r.place(r.normals(g.C))
	y, stats, dx := r.empty(size), r.empty(g.N*g.Groups*2), r.empty(size)
	dg, db := r.place(make([]float64, g.C)), r.place(make([]float64, g.C))
	r.GroupNorm(y, stats, x, gamma, beta, g, true)
	r.GroupNormBack(dx, dg, db, dy, x, stats, gamma, beta, g, true, 0)
	add("GroupNorm", y, stats, dx, dg, db)
	rows := g.N * g.Pixels
	y, stats, dx = r.empty(size), r.empty(2*rows), r.empty(size)
	r.LayerNorm(y.Matrix(rows, g.C), stats, x.Matrix(rows, g.C), gamma, beta, 1e-5)
	r.LayerNormBack(dx.Matrix(rows, g.C), dg, db, dy.Matrix(rows, g.C), x.Matrix(rows, g.C), stats, gamma, 0)
	add("LayerNorm", y, stats, dx, dg, db)
}

func digestRest(r *rig, add func(string, ...device.Array)) {
	const n = 1 << 18
	x, z, y := r.place(r.normals(n)), r.place(r.normals(n)), r.empty(n)
	draw := device.Draw{Key: 3, Stream: 1, Step: r.ids(2)}
	for f := device.SiLU; f <= device.QuickGELU; f++ {
		r.Activate(f, y, x)
		add(fmt.Sprintf("Activate %d", f), y)
		r.ActivateBack(f, y, z, x, 0)
		add(fmt.Sprintf("ActivateBack %d", f), y)
	}
	r.Combine(y, r.place([]float64{0.5, -2}), x, z)
	add("Combine", y)
	r.DropoutMask(y.Matrix(512, 512), x.Matrix(512, 512), device.Dropout{P: 0.1, Draw: draw})
	add("Dropout", y)
	r.Normal(y, draw)
	add("Normal", y)
	r.GEGLU(y.Slice(0, n/2).Matrix(256, 512), x.Matrix(256, 1024))
	add("GEGLU", y.Slice(0, n/2))
	r.GEGLUBack(y.Matrix(256, 1024), z.Slice(0, n/2).Matrix(256, 512), x.Matrix(256, 1024))
	add("GEGLUBack", y)
	sum := r.empty(1)
	r.SumSquares(sum, x, 0)
	add("SumSquares", sum)
	columns := r.empty(512)
	r.ColumnSum(columns.Matrix(1, 512), x.Matrix(512, 512), 512, 0)
	add("ColumnSum", columns)
	l, dp := r.empty(4), r.empty(n)
	r.Loss(l, dp, x, z, device.Array{}, device.Array{}, device.LossGeom{N: 4, Pixels: n / 16, C: 4})
	add("Loss", l, dp)
	hyper := r.place([]float64{1e-3, 0.9, 0.999, 1e-8, 0.01, 0.1, 0.001})
	m, v := r.place(make([]float64, n)), r.place(make([]float64, n))
	r.AdamW(device.Slab{Value: x, Grad: z, M: m, V: v}, []device.AdamWSegment{{Len: n, Hyper: hyper}}, device.Array{})
	add("AdamW", x, m, v)
}
