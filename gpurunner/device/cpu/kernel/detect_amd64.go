//go:build !purego

package kernel

import "golang.org/x/sys/cpu"

// machineSets returns the assembly sets that this processor and its operating
// system run. What a set lacks in assembly is the next slower set's.
func machineSets() []*Set {
	var sets []*Set
	// Every processor with AVX2 and FMA also converts half precision (F16C).
	if !cpu.X86.HasAVX2 || !cpu.X86.HasFMA {
		return nil
	}
	s := generic()
	useAVX2(s)
	sets = append(sets, s)
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL {
		wide := *s
		useAVX512(&wide)
		sets = append(sets, &wide)
	}
	return sets
}

func useAVX2(s *Set) {
	s.Name = "avx2"
	assemblyAVX2.install(s)
	layoutsAVX2.install(&s.Layouts)
	countersAVX2.install(&s.Training)
	winogradAVX2.install(&s.Winograd)
	s.DotRows = dotsAVX2.dotRows
	s.Rows, s.MatMul = 6, matMulAVX2
	s.Peak = func(rounds int) int { fmaPeakAVX2(rounds); return rounds * 12 * 8 * 2 }
}

func useAVX512(s *Set) {
	s.Name = "avx512"
	assemblyAVX512.install(s)
	layoutsAVX512.install(&s.Layouts)
	countersAVX512.install(&s.Training)
	winogradAVX512.install(&s.Winograd)
	s.DotRows = dotsAVX512.dotRows
	s.Rows, s.MatMul = 14, matMulAVX512
	s.Peak = func(rounds int) int { fmaPeakAVX512(rounds); return rounds * 28 * 16 * 2 }
}
