// Package paritytest is how the engine's tests compare with the numbers of the systems that lowrank
// reimplements: outputs, activations ("taps"), gradients, sampler trajectories and whole training runs of tiny
// random models, made once by scripts/parity and described in scripts/parity/README.md.
//
// # Where the numbers are
//
// A root is a folder that holds models/, clip/, unet/, vae/, grad/, schedulers/, pipelines/, lora/, train/ and
// imageops/. There is always the small set that is embedded here (testdata/), so a lone clone tests every
// class; the full set comes from the folder named by LOWRANK_PARITY (a list in the form of PATH), else from
// ../shared/parity/data beside the repository. LOWRANK_REQUIRE=parity makes a missing full set a failure.
// Other seeds, shapes and configurations are other roots: nothing about them is written down here or may be in
// a test. Cases come from the files, shapes from the tensors, the rest from the .json beside them.
//
// # How a test reads
//
//	func TestMain(m *testing.M) { paritytest.Main(m) }
//
//	func TestParity(t *testing.T) {
//		paritytest.Each(t, "vae", func(t *testing.T, c *paritytest.Case) {
//			model := vae.Load(c.ModelDir())
//			got := model.Decode(c.Tensor(t, "in.latents").NHWC())
//			c.CompareNHWC(t, "out.image", got)
//			…
//		})
//	}
//
// Each runs the function once a case and root, as subtests. When it returns, every stored output must have
// been compared: a new tap in a file makes the test fail until somebody compares it. A class without a case is
// a failure as well. The tolerance of each tensor comes from the table in tolerance.go, so that no test
// chooses its own.
//
// Stored tensors are in torch's layouts (pictures [N,C,H,W], convolution weights [O,I,kh,kw]); Tensor.NHWC and
// CompareNHWC turn them to this engine's channels-last.
//
// The package is for tests only. It knows nothing of devices and layers: it gets and gives plain slices.
package paritytest
