package train

import (
	"crypto/sha256"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/paritytest"
)

// secondRows makes the placeholder rows of SDXL's second text encoder, which
// the fixtures use and do not store: scripts/parity draws them from PyTorch's
// CPU generator, seeded by the SHA-256 of "seed|ph|model|_2".
func secondRows(t *testing.T, root paritytest.Root, model string, n, width int) []float32 {
	t.Helper()
	var variant struct {
		Seed uint64  `json:"seed"`
		Init float64 `json:"placeholder_init"`
	}
	root.JSON(t, "variant.json", &variant)
	sum := sha256.Sum256([]byte(strings.Join([]string{fmt.Sprint(variant.Seed), "ph", model, "_2"}, "|")))
	seed := uint64(0)
	for _, b := range sum[:7] {
		seed = seed<<8 | uint64(b)
	}
	rows := torchRandn(seed, n*width)
	scale := float32(variant.Init / math.Sqrt(float64(width)))
	for i := range rows {
		rows[i] *= scale
	}
	return rows
}

// torchRandn is torch.randn of n float32 numbers, n a multiple of 16, with a
// fresh CPU generator: a Mersenne twister and Box–Muller over groups of 16.
func torchRandn(seed uint64, n int) []float32 {
	var state [624]uint32
	state[0] = uint32(seed)
	for i := 1; i < len(state); i++ {
		state[i] = 1812433253*(state[i-1]^state[i-1]>>30) + uint32(i)
	}
	at := len(state)
	next := func() uint32 {
		if at == len(state) {
			for i := range state {
				y := state[i]&0x80000000 | state[(i+1)%624]&0x7fffffff
				v := state[(i+397)%624] ^ y>>1
				if y&1 != 0 {
					v ^= 0x9908b0df
				}
				state[i] = v
			}
			at = 0
		}
		y := state[at]
		at++
		y ^= y >> 11
		y ^= y << 7 & 0x9d2c5680
		y ^= y << 15 & 0xefc60000
		return y ^ y>>18
	}
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(next()&(1<<24-1)) / (1 << 24)
	}
	for g := 0; g+16 <= n; g += 16 {
		for j := g; j < g+8; j++ {
			radius := math.Sqrt(-2 * math.Log(float64(1-out[j])))
			angle := 2 * math.Pi * float64(out[j+8])
			out[j], out[j+8] = float32(radius*math.Cos(angle)), float32(radius*math.Sin(angle))
		}
	}
	return out
}
