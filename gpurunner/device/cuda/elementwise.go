//go:build cuda

package cuda

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/device"
)

const combineTerms = 8 // of one launch, as in elementwise.cu

// Combine implements device.Elementwise.
func (d *Device) Combine(y, coef device.Array, x ...device.Array) {
	const op = "Combine"
	yp := d.f32(op, "y", y)
	if len(x) == 0 {
		d.Fill(y, 0)
		return
	}
	cp := d.f32n(op, "coef", coef, len(x))
	terms := make([]uint64, len(x))
	for i := range x {
		terms[i] = d.f32n(op, "x", x[i], y.Len)
	}
	dst := yp
	if len(x) > combineTerms {
		// y may be one of the later terms, so the sum grows elsewhere.
		sum := d.temp(4 * y.Len)
		if sum == nil {
			return
		}
		defer d.Release(sum)
		dst = sum.address
	}
	for from := 0; from < len(x); from += combineTerms {
		n := min(combineTerms, len(x)-from)
		args := []arg{address(dst), count(y.Len), address(cp + uint64(4*from)), whole(n)}
		for i := range combineTerms {
			args = append(args, address(terms[from+min(i, n-1)]))
		}
		d.launch("combine", line(y.Len, 256), 256, append(args, boolean(from > 0))...)
	}
	if dst != yp {
		d.copyBytes(yp, dst, 4*y.Len)
	}
}

// Add implements device.Elementwise.
func (d *Device) Add(y, a, b device.Array) { d.map2("add", y, a, b) }

// Mul implements device.Elementwise.
func (d *Device) Mul(y, a, b device.Array) { d.map2("mul", y, a, b) }

func (d *Device) map2(kernel string, y, a, b device.Array) {
	yp := d.f32(kernel, "y", y)
	ap, bp := d.f32n(kernel, "the first operand", a, y.Len), d.f32n(kernel, "the second operand", b, y.Len)
	d.launch(kernel, line(y.Len, 256), 256, address(yp), address(ap), address(bp), count(y.Len))
}

// Activate implements device.Elementwise.
func (d *Device) Activate(f device.Activation, y, x device.Array) {
	const op = "Activate"
	checkActivation(op, f)
	d.launch("activation", line(x.Len, 256), 256, address(d.f32n(op, "y", y, x.Len)), address(d.f32(op, "x", x)), count(x.Len), whole(int(f)))
}

// ActivateBack implements device.Elementwise.
func (d *Device) ActivateBack(f device.Activation, dx, dy, x device.Array, acc float32) {
	const op = "ActivateBack"
	checkActivation(op, f)
	dxp, dyp := d.f32n(op, "dx", dx, dy.Len), d.f32(op, "dy", dy)
	xp := dyp // of the identity, x may be absent
	if f != device.Identity {
		xp = d.f32n(op, "x", x, dy.Len)
	}
	d.launch("activation_back", line(dy.Len, 256), 256, address(dxp), address(dyp), address(xp), count(dy.Len), whole(int(f)), fraction(acc))
}

// GEGLU implements device.Elementwise.
func (d *Device) GEGLU(y, x device.Matrix) {
	ym, xm := d.mat("GEGLU", "y", y), d.matOf("GEGLU", "x", x, y.Rows, 2*y.Cols)
	d.launch("geglu", line(ym.rows*ym.cols, 256), 256, append(views(ym, xm), whole(ym.rows), whole(ym.cols))...)
}

// GEGLUBack implements device.Elementwise.
func (d *Device) GEGLUBack(dx, dy, x device.Matrix) {
	const op = "GEGLUBack"
	dym := d.mat(op, "dy", dy)
	dxm, xm := d.matOf(op, "dx", dx, dy.Rows, 2*dy.Cols), d.matOf(op, "x", x, dy.Rows, 2*dy.Cols)
	d.launch("geglu_back", line(dym.rows*dym.cols, 256), 256, append(views(dxm, dym, xm), whole(dym.rows), whole(dym.cols))...)
}

// CopyRows implements device.Elementwise. With acc 0 the type may be any.
func (d *Device) CopyRows(dst, src device.Matrix, acc float32) {
	const op = "CopyRows"
	if src.Type != dst.Type {
		badType(op, "src", src.Array, dst.Type)
	}
	if acc == 0 && dst.Type.Size() == 2 {
		dst.Len, src.Len = checkMatrix(op, "dst", dst), checkMatrix(op, "src", src)
		if dst.Rows != src.Rows || dst.Cols != src.Cols {
			panic(fmt.Sprintf("cuda: %s: dst is %d×%d, want %d×%d", op, dst.Rows, dst.Cols, src.Rows, src.Cols))
		}
		d.launch("copy_rows_16", line(dst.Rows*dst.Cols, 256), 256,
			address(d.place(op, "dst", dst.Array)), whole(dst.Stride), address(d.place(op, "src", src.Array)), whole(src.Stride),
			whole(dst.Rows), whole(dst.Cols))
		return
	}
	if acc == 0 && dst.Type == device.I32 { // four bytes are four bytes
		dst.Type, src.Type = device.F32, device.F32
	}
	d.copyRows(d.matOf(op, "dst", dst, src.Rows, src.Cols), d.mat(op, "src", src), acc)
}

func (d *Device) copyRows(dst, src matrix, acc float32) {
	d.launch("copy_rows_32", line(dst.rows*dst.cols, 256), 256, append(views(dst, src), whole(dst.rows), whole(dst.cols), fraction(acc))...)
}

// DropoutMask implements device.Elementwise.
func (d *Device) DropoutMask(y, x device.Matrix, p device.Dropout) {
	const op = "DropoutMask"
	ym, xm := d.mat(op, "y", y), d.matOf(op, "x", x, y.Rows, y.Cols)
	args := append(views(ym, xm), whole(ym.rows), whole(ym.cols))
	d.launch("dropout", line(ym.rows*ym.cols, 256), 256, append(args, d.dropout(op, p)...)...)
}

const sumRows = 64 // of a block of ColumnSum

// ColumnSum implements device.Elementwise.
func (d *Device) ColumnSum(y, x device.Matrix, rowsPerImage int, acc float32) {
	const op = "ColumnSum"
	if rowsPerImage < 0 || y.Rows*rowsPerImage != x.Rows {
		badRows(op, x.Rows, rowsPerImage)
	}
	ym, xm := d.matOf(op, "y", y, y.Rows, x.Cols), d.mat(op, "x", x)
	blocks := ceil(rowsPerImage, sumRows)
	if ym.rows*ym.cols == 0 {
		return
	}
	parts := d.temp(max(ym.rows*blocks*ym.cols*4, 4))
	if parts == nil {
		return
	}
	defer d.Release(parts)
	d.launch("column_sums", grid{blocks, ceil(ym.cols, 128), ym.rows}, 128,
		address(parts.address), address(xm.p), whole(xm.stride), whole(rowsPerImage), whole(ym.cols), whole(sumRows))
	d.launch("column_merge", grid{ceil(ym.cols, 128), ym.rows, 1}, 128,
		address(ym.p), whole(ym.stride), address(parts.address), whole(blocks), whole(ym.cols), fraction(acc))
}

// Cast implements device.Elementwise.
func (d *Device) Cast(dst, src device.Array) {
	if dst.Type == src.Type {
		d.Copy(dst, src)
		return
	}
	if dst.Len != src.Len {
		badLen("Cast", "src", src, dst.Len)
	}
	if dst.Type == device.I32 || src.Type == device.I32 {
		badType("Cast", "src", src, dst.Type)
	}
	d.launch(fmt.Sprintf("cast_%v_%v", dst.Type, src.Type), line(dst.Len, 256), 256,
		address(d.place("Cast", "dst", dst)), address(d.place("Cast", "src", src)), count(dst.Len))
}

// Gather implements device.Elementwise. The table may be of a half type.
func (d *Device) Gather(y, table device.Matrix, ids device.Array) {
	const op = "Gather"
	ym := d.matOf(op, "y", y, ids.Len, table.Cols)
	table.Len = checkMatrix(op, "table", table)
	if table.Type == device.I32 {
		badType(op, "table", table.Array, device.F32)
	}
	d.launch("gather_"+table.Type.String(), line(ym.rows*ym.cols, 256), 256,
		address(ym.p), whole(ym.stride), address(d.place(op, "table", table.Array)), whole(table.Stride), whole(table.Rows),
		address(d.i32(op, "ids", ids)), whole(ym.rows), whole(ym.cols), address(d.fault.address))
}

// ScatterAddRows implements device.Elementwise.
func (d *Device) ScatterAddRows(table, dy device.Matrix, ids device.Array) {
	const op = "ScatterAddRows"
	tm, ym := d.mat(op, "table", table), d.matOf(op, "dy", dy, ids.Len, table.Cols)
	if ids.Len == 0 {
		return
	}
	d.launch("scatter_add", line(tm.cols, 128), 128,
		address(tm.p), whole(tm.stride), whole(tm.rows), address(ym.p), whole(ym.stride), address(d.i32(op, "ids", ids)),
		whole(ym.rows), whole(ym.cols), address(d.fault.address))
}
