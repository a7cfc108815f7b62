package devicetest

import (
	"runtime"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// An operation's tests.
type entry struct {
	name string
	test func(*rig)
}

var table = []entry{
	{"Memory", testMemory},
	{"Bind", testBind},
	{"Weights", testWeights},
	{"Linear", testLinear},
	{"LinearRows", testLinearRows},
	{"LinearBack", testLinearBack},
	{"MatMul", testMatMul},
	{"Epilogue", testEpilogue},
	{"Conv", testConv},
	{"ConvBack", testConvBack},
	{"ConvWeightGrad", testConvWeightGrad},
	{"Upsample", testUpsample},
	{"Attention", testAttention},
	{"AttentionBack", testAttentionBack},
	{"GroupNorm", testGroupNorm},
	{"GroupNormBack", testGroupNormBack},
	{"LayerNorm", testLayerNorm},
	{"LayerNormBack", testLayerNormBack},
	{"Combine", testCombine},
	{"AddMul", testAddMul},
	{"Activate", testActivate},
	{"GEGLU", testGEGLU},
	{"CopyRows", testCopyRows},
	{"ColumnSum", testColumnSum},
	{"Dropout", testDropout},
	{"Cast", testCast},
	{"Gather", testGather},
	{"Loss", testLoss},
	{"SumSquares", testSumSquares},
	{"AdamW", testAdamW},
	{"Normal", testNormal},
}

// Run holds a device to the contract of package device. open is called for
// each operation, and under several GOMAXPROCS.
func Run(t *testing.T, open func() device.Device) { run(t, open, false) }

// RunBF16 is Run for a device that rounds the operands of products to bf16. They
// are numbers of bf16 here, so that only what attention rounds in its midst is
// compared with a wider tolerance.
func RunBF16(t *testing.T, open func() device.Device) { run(t, open, true) }

func run(t *testing.T, open func() device.Device, coarse bool) {
	for _, e := range table {
		t.Run(e.name, func(t *testing.T) {
			dev := open()
			before := dev.Stats().Live
			t.Cleanup(func() {
				if live := dev.Stats().Live; live != before {
					t.Errorf("%d bytes still held", live-before)
				}
				closeDevice(dev)
			})
			r := newRig(t, dev)
			r.coarse = coarse
			if coarse {
				r.looser = roundedInside[e.name]
			}
			e.test(r)
		})
	}
	t.Run("SameBits", func(t *testing.T) { testSameBits(t, open) })
	t.Run("Separate", func(t *testing.T) { testSeparate(t, open, coarse) })
}

// roundedInside are operations that round the result of one product on its way
// into another.
var roundedInside = map[string]float64{"Attention": 1000, "AttentionBack": 1000}

func closeDevice(dev device.Device) {
	if c, ok := dev.(interface{ Close() }); ok {
		c.Close()
	}
}

// testSameBits holds results to be the same for any number of threads.
func testSameBits(t *testing.T, open func() device.Device) {
	var first map[string]uint64
	for _, n := range []int{1, 2, 4} {
		before := runtime.GOMAXPROCS(n)
		dev := open()
		got := Digests(t, dev)
		closeDevice(dev)
		runtime.GOMAXPROCS(before)
		if first == nil {
			first = got
		}
		for name, digest := range got {
			if digest != first[name] {
				t.Errorf("%s: other bits with GOMAXPROCS %d than with 1", name, n)
			}
		}
	}
}
