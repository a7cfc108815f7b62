package cpu

import (
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// rowwise is the task of operations that go row by row. A chunk is a block of
// rows.
type rowwise struct {
	d     *Device
	kind  rowKind
	y, x  matrix
	dy    matrix
	acc   float32
	drop  dropout
	block int
	total int
}

type rowKind uint8

const (
	rowCopy rowKind = iota
	rowGEGLU
	rowGEGLUBack
	rowDropout
)

func (t *rowwise) start(d *Device, kind rowKind, rows, cols, cost int) {
	t.d, t.kind, t.total = d, kind, rows
	if rows == 0 || cols == 0 {
		return
	}
	t.block = d.evenBlock(rows, mapElements/cols)
	d.fork(t, ceil(rows, t.block), moved*rows*cols*cost)
}

// GEGLU implements device.Elementwise.
func (d *Device) GEGLU(y, x device.Matrix) {
	t := &d.tasks.rowwise
	t.y, t.x = d.mat("GEGLU", "y", y), d.matOf("GEGLU", "x", x, y.Rows, 2*y.Cols)
	t.start(d, rowGEGLU, y.Rows, y.Cols, 8)
}

// GEGLUBack implements device.Elementwise.
func (d *Device) GEGLUBack(dx, dy, x device.Matrix) {
	const op = "GEGLUBack"
	t := &d.tasks.rowwise
	t.dy = d.mat(op, "dy", dy)
	t.y, t.x = d.matOf(op, "dx", dx, dy.Rows, 2*dy.Cols), d.matOf(op, "x", x, dy.Rows, 2*dy.Cols)
	t.start(d, rowGEGLUBack, dy.Rows, dy.Cols, 16)
}

// DropoutMask implements device.Elementwise.
func (d *Device) DropoutMask(y, x device.Matrix, p device.Dropout) {
	const op = "DropoutMask"
	t := &d.tasks.rowwise
	t.y, t.x = d.mat(op, "y", y), d.matOf(op, "x", x, y.Rows, y.Cols)
	t.drop = d.dropout(op, p)
	t.start(d, rowDropout, y.Rows, y.Cols, 8)
}

// CopyRows implements device.Elementwise. With acc 0 the type may be any.
func (d *Device) CopyRows(dst, src device.Matrix, acc float32) {
	const op = "CopyRows"
	if dst.Type != device.F32 && acc == 0 {
		d.copyHalves(dst, src)
		return
	}
	t := &d.tasks.rowwise
	t.y, t.x = d.matOf(op, "dst", dst, src.Rows, src.Cols), d.mat(op, "src", src)
	t.acc = acc
	t.start(d, rowCopy, src.Rows, src.Cols, 1)
}

func (d *Device) copyHalves(dst, src device.Matrix) {
	const op = "CopyRows"
	if src.Type != dst.Type {
		badType(op, "src", src.Array, dst.Type)
	}
	if dst.Rows != src.Rows || dst.Cols != src.Cols {
		badShape(op, "dst", dst, src.Rows, src.Cols)
	}
	dst.Len, src.Len = checkMatrix(op, "dst", dst), checkMatrix(op, "src", src)
	to, from, size := d.bytes(op, "dst", dst.Array), d.bytes(op, "src", src.Array), dst.Type.Size()
	for r := range src.Rows {
		copy(to[r*dst.Stride*size:][:dst.Cols*size], from[r*src.Stride*size:])
	}
}

func (t *rowwise) run(_ *worker, chunk int) {
	set := t.d.kernels
	for r := chunk * t.block; r < min((chunk+1)*t.block, t.total); r++ {
		x, y := t.x.row(r), t.y.row(r)
		switch t.kind {
		case rowCopy:
			switch t.acc {
			case 0:
				copy(y, x)
			case 1:
				set.Add(y, y, x)
			default:
				set.Axpy(y, t.acc, x)
			}
		case rowGEGLU:
			set.GEGLU(y, x[:len(y)], x[len(y):])
		case rowGEGLUBack:
			dy := t.dy.row(r)
			n := len(dy)
			set.GEGLUBack(y[:n], y[n:], dy, x[:n], x[n:])
		case rowDropout:
			if t.drop.on {
				t.drop.apply(set, y, x, uint64(r)*uint64(t.y.cols))
			} else {
				copy(y, x)
			}
		}
	}
}

// columnSum is the task of ColumnSum. A chunk is a block of one image's
// columns.
type columnSum struct {
	d       *Device
	y       []float32
	m       matrix // x
	yStride int
	per     int // rows per image
	acc     float32
	blocks  int
}

// Columns of a chunk, and rows that are summed in one chain.
const (
	sumColumns = 256
	sumRows    = 256
)

// ColumnSum implements device.Elementwise.
func (d *Device) ColumnSum(y, x device.Matrix, rowsPerImage int, acc float32) {
	const op = "ColumnSum"
	if rowsPerImage < 0 || y.Rows*rowsPerImage != x.Rows {
		badRows(op, x.Rows, rowsPerImage)
	}
	t := &d.tasks.columnSum
	ym := d.matOf(op, "y", y, y.Rows, x.Cols)
	*t = columnSum{d: d, y: ym.p, m: d.mat(op, "x", x), per: rowsPerImage, acc: acc, blocks: ceil(x.Cols, sumColumns)}
	t.yStride = ym.stride
	if y.Rows*x.Cols > 0 && d.scratch(2*sumColumns) {
		d.fork(t, y.Rows*t.blocks, moved*x.Rows*x.Cols)
	}
}

func (t *columnSum) run(w *worker, chunk int) {
	set := t.d.kernels
	img, c0 := chunk/t.blocks, chunk%t.blocks*sumColumns
	n := min(sumColumns, t.m.cols-c0)
	total, part := w.scratch[:n], w.scratch[sumColumns:][:n]
	clear(total)
	for r := 0; r < t.per; r += sumRows {
		clear(part)
		set.ColumnSums(part, t.m.p[(img*t.per+r)*t.m.stride+c0:], t.m.stride, min(sumRows, t.per-r))
		set.Add(total, total, part)
	}
	y := t.y[img*t.yStride+c0:][:n]
	if t.acc == 0 {
		copy(y, total)
	} else {
		accumulate(set, y, total, t.acc)
	}
}

// Gather implements device.Elementwise. The table may be of a half type.
func (d *Device) Gather(y, table device.Matrix, ids device.Array) {
	const op = "Gather"
	ym := d.matOf(op, "y", y, ids.Len, table.Cols)
	var tm matrix
	var half []uint16
	if table.Type == device.F32 {
		tm = d.mat(op, "table", table)
	} else {
		flat := table
		flat.Len = checkMatrix(op, "table", table)
		half = d.halves(op, "table", flat.Array)
	}
	for i, id := range d.i32(op, "ids", ids) {
		if id < 0 || int(id) >= table.Rows {
			d.failIndex(op, id, table.Rows)
			return
		}
		switch {
		case table.Cols == 0:
		case half == nil:
			copy(ym.row(i), tm.row(int(id)))
		default:
			d.widen(table.Type, ym.row(i), half[int(id)*table.Stride:][:table.Cols])
		}
	}
}

// ScatterAddRows implements device.Elementwise.
func (d *Device) ScatterAddRows(table, dy device.Matrix, ids device.Array) {
	const op = "ScatterAddRows"
	tm, ym := d.mat(op, "table", table), d.matOf(op, "dy", dy, ids.Len, table.Cols)
	for i, id := range d.i32(op, "ids", ids) {
		if id < 0 || int(id) >= table.Rows {
			d.failIndex(op, id, table.Rows)
			return
		}
		if table.Cols > 0 {
			row := tm.row(int(id))
			d.kernels.Add(row, row, ym.row(i))
		}
	}
}

func (d *Device) widen(t device.DType, dst []float32, src []uint16) { widen(d.kernels, t, dst, src) }

func widen(set *kernel.Set, t device.DType, dst []float32, src []uint16) {
	if t == device.F16 {
		set.WidenF16(dst, src)
	} else {
		set.WidenBF16(dst, src)
	}
}

func narrow(set *kernel.Set, t device.DType, dst []uint16, src []float32) {
	if t == device.F16 {
		set.NarrowF16(dst, src)
	} else {
		set.NarrowBF16(dst, src)
	}
}
