package devicetest

import (
	"fmt"
	"math"

	"github.com/lowrank/lowrank/gpurunner/device"
)

var lengths = []int{1, 5, 31, 257, 9000, 0}

func testCombine(r *rig) {
	for _, n := range lengths {
		for terms := 1; terms <= 7; terms++ {
			r.sub(fmt.Sprintf("%d/%d", n, terms), func(r *rig) {
				coef := r.normals(terms)
				want := make([]float64, n)
				var x []device.Array
				for i := range terms {
					v := r.normals(n)
					x = append(x, r.place(v))
					want = plus(want, coef[i], v)
				}
				y := r.empty(n)
				r.Combine(y, r.place(coef), x...)
				r.near("y", r.download(y), want, close32)
				last := x[terms-1]
				r.Combine(last, r.place(coef), x...)
				r.near("in place", r.download(last), want, close32)
			})
		}
	}
}

func testAddMul(r *rig) {
	for _, n := range lengths {
		r.sub(fmt.Sprint(n), func(r *rig) {
			a, b := r.normals(n), r.normals(n)
			product := make([]float64, n)
			for i := range product {
				product[i] = a[i] * b[i]
			}
			aa, ba, y := r.place(a), r.place(b), r.empty(n)
			r.Mul(y, aa, ba)
			r.near("product", r.download(y), product, close32)
			r.Add(y, aa, ba)
			r.near("sum", r.download(y), plus(a, 1, b), close32)
			r.Add(ba, aa, ba)
			r.near("sum in place", r.download(ba), plus(a, 1, b), close32)
		})
	}
}

func testActivate(r *rig) {
	for f := device.Identity; f <= device.QuickGELU; f++ {
		for _, n := range lengths {
			r.sub(fmt.Sprintf("%d/%d", f, n), func(r *rig) {
				x, dy, old := r.normals(n), r.normals(n), r.normals(n)
				for i := range x {
					x[i] = float64(float32(4 * x[i]))
				}
				const h = 1e-5
				up, down := plus(x, h, ones(n)), plus(x, -h, ones(n))
				slope := plus(activate(f, up), -1, activate(f, down))
				want := make([]float64, n)
				for i := range want {
					want[i] = dy[i] * slope[i] / (2 * h)
				}
				xa, dya, y, dx := r.place(x), r.place(dy), r.empty(n), r.empty(n)
				r.Activate(f, y, xa)
				r.near("y", r.download(y), activate(f, x), close32)
				r.ActivateBack(f, dx, dya, xa, 0)
				r.near("dx", r.download(dx), want, close32)
				dx = r.place(old)
				r.ActivateBack(f, dx, dya, xa, 1)
				r.near("dx added", r.download(dx), plus(want, 1, old), close32)
			})
		}
		r.sub(fmt.Sprintf("%d/Extreme", f), func(r *rig) {
			x := []float64{0, math.Copysign(0, -1), 100, -100, 1e30, -1e30, 88, -88, 1e-40, -87.5}
			y := r.empty(len(x))
			r.Activate(f, y, r.place(x))
			got, want := r.download(y), activate(f, x)
			for i := range got {
				if e := math.Abs(got[i] - want[i]); !(e <= 1e-5*max(1, math.Abs(want[i])) || got[i] == want[i]) {
					r.Errorf("of %v: %v, want %v", x[i], got[i], want[i])
				}
			}
		})
	}
}

func ones(n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = 1
	}
	return v
}

func geglu(x []float64, rows, h int) []float64 {
	y := make([]float64, rows*h)
	for i := range y {
		at := i/h*2*h + i%h
		y[i] = x[at] * activate(device.GELU, x[at+h:at+h+1])[0]
	}
	return y
}

func testGEGLU(r *rig) {
	for _, s := range []struct{ rows, h int }{{1, 1}, {3, 5}, {4, 33}, {0, 3}} {
		r.sub(fmt.Sprintf("%dx%d", s.rows, s.h), func(r *rig) {
			x, dy := r.normals(s.rows*2*s.h), r.normals(s.rows*s.h)
			xm := r.matrix(x, s.rows, 2*s.h, true)
			y, dx := r.matrix(nans(len(dy)), s.rows, s.h, true), r.matrix(nans(len(x)), s.rows, 2*s.h, true)
			r.GEGLU(y, xm)
			r.near("y", r.values(y), geglu(x, s.rows, s.h), close32)
			r.GEGLUBack(dx, r.matrix(dy, s.rows, s.h, true), xm)
			want := gradient(func(x []float64) []float64 { return geglu(x, s.rows, s.h) }, x, dy)
			r.near("dx", r.values(dx), want, close32)
		})
	}
}

func testCopyRows(r *rig) {
	for _, s := range []struct{ rows, cols int }{{1, 1}, {5, 33}, {300, 40}, {0, 4}, {4, 0}} {
		r.sub(fmt.Sprintf("%dx%d", s.rows, s.cols), func(r *rig) {
			v, old := r.normals(s.rows*s.cols), r.normals(s.rows*s.cols)
			src := r.matrix(v, s.rows, s.cols, true)
			dst := r.matrix(nans(len(v)), s.rows, s.cols, true)
			r.CopyRows(dst, src, 0)
			r.near("copied", r.values(dst), v, exact)
			dst = r.matrix(old, s.rows, s.cols, false)
			r.CopyRows(dst, src, 1)
			r.near("added", r.values(dst), plus(v, 1, old), close32)
		})
	}
}

func testColumnSum(r *rig) {
	for _, s := range []struct{ images, per, cols int }{{1, 1, 1}, {2, 5, 33}, {3, 700, 4}, {1, 300, 600}, {2, 0, 3}} {
		r.sub(fmt.Sprintf("%dx%dx%d", s.images, s.per, s.cols), func(r *rig) {
			x := r.normals(s.images * s.per * s.cols)
			want := make([]float64, s.images*s.cols)
			for i, v := range x {
				want[i/s.cols/s.per*s.cols+i%s.cols] += v
			}
			xm := r.matrix(x, s.images*s.per, s.cols, true)
			y := r.matrix(nans(len(want)), s.images, s.cols, true)
			r.ColumnSum(y, xm, s.per, 0)
			r.near("y", r.values(y), want, close32)
			old := r.normals(len(want))
			y = r.matrix(old, s.images, s.cols, false)
			r.ColumnSum(y, xm, s.per, 1)
			r.near("y added", r.values(y), plus(want, 1, old), close32)
		})
	}
}

func testDropout(r *rig) {
	for _, s := range []struct{ rows, cols int }{{1, 1}, {7, 33}, {200, 50}} {
		r.sub(fmt.Sprintf("%dx%d", s.rows, s.cols), func(r *rig) {
			x := r.normals(s.rows * s.cols)
			draw := device.Draw{Key: 1<<40 + 5, Stream: 3, Micro: 2, Step: r.ids(11)}
			y := r.matrix(nans(len(x)), s.rows, s.cols, true)
			r.DropoutMask(y, r.matrix(x, s.rows, s.cols, true), device.Dropout{P: 0.1, Draw: draw})
			r.near("y", r.values(y), drop(x, 0, 0.1, [3]uint32{3, 11, 2}, 1<<40+5), close32)
			r.DropoutMask(y, r.matrix(x, s.rows, s.cols, true), device.Dropout{})
			r.near("y without", r.values(y), x, exact)
		})
	}
}

func testCast(r *rig) {
	for _, from := range storageTypes {
		for _, to := range storageTypes {
			r.sub(fmt.Sprintf("%v-%v", from, to), func(r *rig) {
				v := append(r.normals(9001), 0, 1e-7, -3e-6, 6.1e-5, 65504, 65519, 65520, 1e30, -1e-30, 2049, 2051, 257, 259)
				b, rounded := encodeAs(from, v)
				n := len(v)
				buf1, err1 := r.Alloc(4 * n)
				buf2, err2 := r.Alloc(4 * n)
				if err1 != nil || err2 != nil {
					r.Fatal(err1, err2)
				}
				defer r.Release(buf1)
				defer r.Release(buf2)
				src, dst := device.Array{Buf: buf1, Len: n, Type: from}, device.Array{Buf: buf2, Len: n, Type: to}
				r.Upload(src, b)
				r.Cast(dst, src)
				got := make([]byte, n*to.Size())
				r.Download(got, dst)
				wb, want := encodeAs(to, rounded)
				gv := decodeAs(to, got)
				for i := range want {
					if gv[i] != want[i] {
						r.Fatalf("of %v: %v, want %v (bytes %x)", rounded[i], gv[i], want[i], wb[i*to.Size():(i+1)*to.Size()])
					}
				}
			})
		}
	}
}

func testGather(r *rig) {
	for _, typ := range storageTypes {
		r.sub(fmt.Sprintf("%v", typ), func(r *rig) {
			const rows, cols = 9, 35
			b, table := encodeAs(typ, r.normals(rows*cols))
			buf, err := r.Alloc(len(b))
			if err != nil {
				r.Fatal(err)
			}
			defer r.Release(buf)
			a := device.Array{Buf: buf, Len: rows * cols, Type: typ}
			r.Upload(a, b)
			ids := []int32{8, 0, 3, 3, 1}
			var want []float64
			for _, id := range ids {
				want = append(want, table[int(id)*cols:int(id+1)*cols]...)
			}
			y := r.matrix(nans(len(want)), len(ids), cols, true)
			r.Gather(y, a.Matrix(rows, cols), r.ids(ids...))
			r.near("y", r.values(y), want, exact)
		})
	}
	r.sub("ScatterAddRows", func(r *rig) {
		const rows, cols = 6, 35
		table := r.normals(rows * cols)
		ids := []int32{2, 5, 2, 2, 0}
		dy := r.normals(len(ids) * cols)
		want := append([]float64(nil), table...)
		for i, v := range dy {
			want[int(ids[i/cols])*cols+i%cols] += v
		}
		m := r.matrix(table, rows, cols, true)
		r.ScatterAddRows(m, r.matrix(dy, len(ids), cols, true), r.ids(ids...))
		r.near("table", r.values(m), want, close32)
	})
}
