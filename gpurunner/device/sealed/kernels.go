package sealed

import "github.com/lowrank/lowrank/gpurunner/device"

// Linear implements device.Products.
func (d *Device) Linear(y, x device.Matrix, w device.Weight, low []device.Low, epi device.Epilogue) {
	defer d.open()()
	d.cpu.Linear(y, x, w, low, epi)
}

// LinearBack implements device.Products.
func (d *Device) LinearBack(dx, dy device.Matrix, w device.Weight, low []device.Low, beta float32) {
	defer d.open()()
	d.cpu.LinearBack(dx, dy, w, low, beta)
}

// MatMul implements device.Products.
func (d *Device) MatMul(c, a, b device.Matrix, transA, transB bool, alpha float32, epi device.Epilogue) {
	defer d.open()()
	d.cpu.MatMul(c, a, b, transA, transB, alpha, epi)
}

// Conv implements device.Convolutions.
func (d *Device) Conv(y, x device.Array, w device.Weight, g device.ConvGeom, low []device.Low, epi device.Epilogue) {
	defer d.open()()
	d.cpu.Conv(y, x, w, g, low, epi)
}

// ConvBack implements device.Convolutions.
func (d *Device) ConvBack(dx, dy device.Array, w device.Weight, g device.ConvGeom, beta float32) {
	defer d.open()()
	d.cpu.ConvBack(dx, dy, w, g, beta)
}

// ConvWeightGrad implements device.Convolutions.
func (d *Device) ConvWeightGrad(dw, x, dy device.Array, g device.ConvGeom, beta float32) {
	defer d.open()()
	d.cpu.ConvWeightGrad(dw, x, dy, g, beta)
}

// Upsample implements device.Convolutions.
func (d *Device) Upsample(y, x device.Array, g device.ConvGeom) {
	defer d.open()()
	d.cpu.Upsample(y, x, g)
}

// UpsampleBack implements device.Convolutions.
func (d *Device) UpsampleBack(dx, dy device.Array, g device.ConvGeom, beta float32) {
	defer d.open()()
	d.cpu.UpsampleBack(dx, dy, g, beta)
}

// Attention implements device.Attentions.
func (d *Device) Attention(o device.Matrix, lse device.Array, q, k, v device.Matrix, g device.AttentionGeom) {
	defer d.open()()
	d.cpu.Attention(o, lse, q, k, v, g)
}

// AttentionBack implements device.Attentions.
func (d *Device) AttentionBack(dq, dk, dv, do, o, q, k, v device.Matrix, lse device.Array, g device.AttentionGeom) {
	defer d.open()()
	d.cpu.AttentionBack(dq, dk, dv, do, o, q, k, v, lse, g)
}

// GroupNorm implements device.Norms.
func (d *Device) GroupNorm(y, stats, x, gamma, beta device.Array, g device.NormGeom, silu bool) {
	defer d.open()()
	d.cpu.GroupNorm(y, stats, x, gamma, beta, g, silu)
}

// GroupNormBack implements device.Norms.
func (d *Device) GroupNormBack(dx, dgamma, dbeta, dy, x, stats, gamma, beta device.Array, g device.NormGeom, silu bool, acc float32) {
	defer d.open()()
	d.cpu.GroupNormBack(dx, dgamma, dbeta, dy, x, stats, gamma, beta, g, silu, acc)
}

// LayerNorm implements device.Norms.
func (d *Device) LayerNorm(y device.Matrix, stats device.Array, x device.Matrix, gamma, beta device.Array, eps float32) {
	defer d.open()()
	d.cpu.LayerNorm(y, stats, x, gamma, beta, eps)
}

// LayerNormBack implements device.Norms.
func (d *Device) LayerNormBack(dx device.Matrix, dgamma, dbeta device.Array, dy, x device.Matrix, stats, gamma device.Array, acc float32) {
	defer d.open()()
	d.cpu.LayerNormBack(dx, dgamma, dbeta, dy, x, stats, gamma, acc)
}

// Combine implements device.Elementwise.
func (d *Device) Combine(y, coef device.Array, x ...device.Array) {
	defer d.open()()
	d.cpu.Combine(y, coef, x...)
}

// Add implements device.Elementwise.
func (d *Device) Add(y, a, b device.Array) { defer d.open()(); d.cpu.Add(y, a, b) }

// Mul implements device.Elementwise.
func (d *Device) Mul(y, a, b device.Array) { defer d.open()(); d.cpu.Mul(y, a, b) }

// Activate implements device.Elementwise.
func (d *Device) Activate(f device.Activation, y, x device.Array) {
	defer d.open()()
	d.cpu.Activate(f, y, x)
}

// ActivateBack implements device.Elementwise.
func (d *Device) ActivateBack(f device.Activation, dx, dy, x device.Array, acc float32) {
	defer d.open()()
	d.cpu.ActivateBack(f, dx, dy, x, acc)
}

// GEGLU implements device.Elementwise.
func (d *Device) GEGLU(y, x device.Matrix) { defer d.open()(); d.cpu.GEGLU(y, x) }

// GEGLUBack implements device.Elementwise.
func (d *Device) GEGLUBack(dx, dy, x device.Matrix) { defer d.open()(); d.cpu.GEGLUBack(dx, dy, x) }

// CopyRows implements device.Elementwise.
func (d *Device) CopyRows(dst, src device.Matrix, acc float32) {
	defer d.open()()
	d.cpu.CopyRows(dst, src, acc)
}

// ColumnSum implements device.Elementwise.
func (d *Device) ColumnSum(y, x device.Matrix, rowsPerImage int, acc float32) {
	defer d.open()()
	d.cpu.ColumnSum(y, x, rowsPerImage, acc)
}

// DropoutMask implements device.Elementwise.
func (d *Device) DropoutMask(y, x device.Matrix, p device.Dropout) {
	defer d.open()()
	d.cpu.DropoutMask(y, x, p)
}

// Cast implements device.Elementwise.
func (d *Device) Cast(dst, src device.Array) { defer d.open()(); d.cpu.Cast(dst, src) }

// Gather implements device.Elementwise.
func (d *Device) Gather(y, table device.Matrix, ids device.Array) {
	defer d.open()()
	d.cpu.Gather(y, table, ids)
}

// ScatterAddRows implements device.Elementwise.
func (d *Device) ScatterAddRows(table, dy device.Matrix, ids device.Array) {
	defer d.open()()
	d.cpu.ScatterAddRows(table, dy, ids)
}

// Loss implements device.Training.
func (d *Device) Loss(loss, dpred, pred, target, mask, weight device.Array, g device.LossGeom) {
	defer d.open()()
	d.cpu.Loss(loss, dpred, pred, target, mask, weight, g)
}

// SumSquares implements device.Training.
func (d *Device) SumSquares(out, x device.Array, acc float32) {
	defer d.open()()
	d.cpu.SumSquares(out, x, acc)
}

// ClipFactor implements device.Training.
func (d *Device) ClipFactor(factor, sum device.Array, maxNorm float32) {
	defer d.open()()
	d.cpu.ClipFactor(factor, sum, maxNorm)
}

// AdamW implements device.Training.
func (d *Device) AdamW(s device.Slab, segments []device.AdamWSegment, clip device.Array) {
	defer d.open()()
	d.cpu.AdamW(s, segments, clip)
}

// Normal implements device.Training.
func (d *Device) Normal(dst device.Array, at device.Draw) { defer d.open()(); d.cpu.Normal(dst, at) }
