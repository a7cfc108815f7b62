//go:build cuda

package cuda

import "github.com/lowrank/lowrank/gpurunner/device"

// Loss implements device.Training.
func (d *Device) Loss(out, dpred, pred, target, mask, weight device.Array, g device.LossGeom) {
	const op = "Loss"
	if g.N < 1 || g.Pixels < 1 || g.C < 1 {
		badGeometry(op, g, "nothing to sum")
	}
	size := g.N * g.Pixels * g.C
	d.launch("loss", grid{g.N, 1, 1}, 256,
		address(d.f32n(op, "loss", out, g.N)), address(d.optional(op, "dpred", dpred, size)),
		address(d.f32n(op, "pred", pred, size)), address(d.f32n(op, "target", target, size)),
		address(d.optional(op, "mask", mask, g.N*g.Pixels)), address(d.optional(op, "weight", weight, g.N)),
		whole(g.N), whole(g.Pixels), whole(g.C))
}

const squareElements = 8192 // of a block, as in training.cu

// SumSquares implements device.Training.
func (d *Device) SumSquares(out, x device.Array, acc float32) {
	const op = "SumSquares"
	op1, xp := d.f32n(op, "out", out, 1), d.f32(op, "x", x)
	blocks := ceil(x.Len, squareElements)
	parts := d.temp(max(8*blocks, 8))
	if parts == nil {
		return
	}
	defer d.Release(parts)
	d.launch("square_sums", grid{blocks, 1, 1}, 256, address(parts.address), address(xp), count(x.Len))
	d.launch("square_merge", grid{1, 1, 1}, 256, address(op1), address(parts.address), whole(blocks), fraction(acc))
}

// ClipFactor implements device.Training.
func (d *Device) ClipFactor(factor, sum device.Array, maxNorm float32) {
	const op = "ClipFactor"
	d.launch("clip_factor", grid{1, 1, 1}, 32, address(d.f32n(op, "factor", factor, 1)), address(d.f32n(op, "sum", sum, 1)), fraction(maxNorm))
}

const adamWSegments = 4 // of one launch, as in training.cu

// AdamW implements device.Training: one launch over all segments, four at a
// time.
func (d *Device) AdamW(s device.Slab, segments []device.AdamWSegment, clip device.Array) {
	const op = "AdamW"
	n := s.Value.Len
	first := []arg{
		address(d.f32(op, "values", s.Value)), address(d.f32n(op, "gradients", s.Grad, n)),
		address(d.f32n(op, "first moments", s.M, n)), address(d.f32n(op, "second moments", s.V, n)),
		address(d.optional(op, "clip", clip, 1)),
	}
	for len(segments) > 0 {
		part := segments[:min(len(segments), adamWSegments)]
		segments = segments[len(part):]
		args, longest := append([]arg(nil), first...), 0
		for i := range adamWSegments {
			seg := part[min(i, len(part)-1)]
			if seg.Off < 0 || seg.Len < 0 || seg.Off+seg.Len > n {
				badGeometry(op, seg, "a segment outside the slab")
			}
			longest = max(longest, seg.Len)
			args = append(args, count(seg.Off), count(seg.Len), address(d.f32n(op, "hyper", seg.Hyper, 7)))
		}
		d.launch("adamw", grid{ceil(longest, 256), len(part), 1}, 256, args...)
	}
}

// Normal implements device.Training.
func (d *Device) Normal(dst device.Array, a device.Draw) {
	const op = "Normal"
	args := append([]arg{address(d.f32(op, "dst", dst)), count(dst.Len)}, d.draw(op, a)...)
	d.launch("normal", line(dst.Len, 4*256), 256, args...)
}
