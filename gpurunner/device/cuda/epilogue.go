//go:build cuda

package cuda

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// epilogue is a device.Epilogue as the last arguments of a product's kernel,
// in the order of EPILOGUE_PARAMS.
func (d *Device) epilogue(op string, e device.Epilogue, y matrix, alpha float32) []arg {
	var vector, residual matrix
	if !e.RowVector.None() {
		if e.RowsPerImage <= 0 || y.rows%e.RowsPerImage != 0 {
			badRows(op, y.rows, e.RowsPerImage)
		}
		vector = d.matOf(op, "row vector", e.RowVector, y.rows/e.RowsPerImage, y.cols)
	}
	if !e.Residual.None() {
		residual = d.matOf(op, "residual", e.Residual, y.rows, y.cols)
	}
	checkActivation(op, e.Act)
	args := []arg{
		fraction(alpha), address(d.optional(op, "bias", e.Bias, y.cols)),
		address(vector.p), whole(vector.stride), whole(e.RowsPerImage), whole(int(e.Act)),
	}
	args = append(args, d.dropout(op, e.Drop)...)
	return append(args, address(residual.p), whole(residual.stride), fraction(e.Beta), address(y.p), whole(y.stride))
}

// dropout is a device.Dropout as the arguments DROP_PARAMS.
func (d *Device) dropout(op string, a device.Dropout) []arg {
	if a.P == 0 {
		return []arg{address(0), number(0), fraction(0), number(0), number(0), number(0), number(0)}
	}
	if !(a.P > 0 && a.P < 1) {
		panic(fmt.Sprintf("cuda: %s: dropout with probability %v, want 0 up to below 1", op, a.P))
	}
	below := uint32(float64(a.P) * (1 << 32))
	draw := d.draw(op, a.Draw)
	return append([]arg{draw[0], number(below), fraction(1 / (1 - a.P))}, draw[1:]...)
}

// draw is a device.Draw: the address of the step, the key's halves, stream and
// micro-step.
func (d *Device) draw(op string, a device.Draw) []arg {
	if a.Step.Len != 1 {
		badLen(op, "step", a.Step, 1)
	}
	return []arg{address(d.i32(op, "step", a.Step)), number(uint32(a.Key)), number(uint32(a.Key >> 32)), number(a.Stream), number(a.Micro)}
}

func checkActivation(op string, f device.Activation) {
	if f > device.QuickGELU {
		panic(fmt.Sprintf("cuda: %s: unknown activation %d", op, f))
	}
}
