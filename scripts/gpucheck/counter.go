package main

import "github.com/lowrank/lowrank/gpurunner/device"

// counter counts the floating-point operations of products and attention: a
// multiply-add is two. Backward attention counts as its five products, though a
// kernel may compute some of them twice.
type counter struct {
	device.Device
	flops float64
}

func (c *counter) add(m, n, k int) { c.flops += 2 * float64(m) * float64(n) * float64(k) }

func (c *counter) low(rows, columns int, low []device.Low) {
	for _, l := range low {
		c.add(rows, columns, l.H.Cols)
	}
}

// Step implements device.Stepper, as the device below does.
func (c *counter) Step() {
	if s, ok := c.Device.(device.Stepper); ok {
		s.Step()
	}
}

// Linear implements device.Products.
func (c *counter) Linear(y, x device.Matrix, w device.Weight, low []device.Low, epi device.Epilogue) {
	c.add(y.Rows, y.Cols, x.Cols)
	c.low(y.Rows, y.Cols, low)
	c.Device.Linear(y, x, w, low, epi)
}

// LinearBack implements device.Products.
func (c *counter) LinearBack(dx, dy device.Matrix, w device.Weight, low []device.Low, beta float32) {
	c.add(dx.Rows, dx.Cols, dy.Cols)
	c.low(dx.Rows, dx.Cols, low)
	c.Device.LinearBack(dx, dy, w, low, beta)
}

// MatMul implements device.Products.
func (c *counter) MatMul(y, a, b device.Matrix, transA, transB bool, alpha float32, epi device.Epilogue) {
	k := a.Cols
	if transA {
		k = a.Rows
	}
	c.add(y.Rows, y.Cols, k)
	c.Device.MatMul(y, a, b, transA, transB, alpha, epi)
}

func (c *counter) conv(g device.ConvGeom) { c.add(g.N*g.OutH()*g.OutW(), g.O, g.KH*g.KW*g.C) }

// Conv implements device.Convolutions.
func (c *counter) Conv(y, x device.Array, w device.Weight, g device.ConvGeom, low []device.Low, epi device.Epilogue) {
	c.conv(g)
	c.low(g.N*g.OutH()*g.OutW(), g.O, low)
	c.Device.Conv(y, x, w, g, low, epi)
}

// ConvBack implements device.Convolutions.
func (c *counter) ConvBack(dx, dy device.Array, w device.Weight, g device.ConvGeom, beta float32) {
	c.conv(g)
	c.Device.ConvBack(dx, dy, w, g, beta)
}

// ConvWeightGrad implements device.Convolutions.
func (c *counter) ConvWeightGrad(dw, x, dy device.Array, g device.ConvGeom, beta float32) {
	c.conv(g)
	c.Device.ConvWeightGrad(dw, x, dy, g, beta)
}

func (c *counter) attention(g device.AttentionGeom, products int) {
	for range products {
		c.add(g.Batch*g.Heads*g.TQ, g.TK, g.Dim)
	}
}

// Attention implements device.Attentions.
func (c *counter) Attention(o device.Matrix, lse device.Array, q, k, v device.Matrix, g device.AttentionGeom) {
	c.attention(g, 2)
	c.Device.Attention(o, lse, q, k, v, g)
}

// AttentionBack implements device.Attentions.
func (c *counter) AttentionBack(dq, dk, dv, do, o, q, k, v device.Matrix, lse device.Array, g device.AttentionGeom) {
	c.attention(g, 5)
	c.Device.AttentionBack(dq, dk, dv, do, o, q, k, v, lse, g)
}
