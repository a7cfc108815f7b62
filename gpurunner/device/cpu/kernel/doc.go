// Package kernel is the innermost layer of the CPU device: loops over float32
// memory, each in portable Go and, on amd64, in generated AVX2 and AVX-512
// assembly.
//
// A [Set] holds one implementation of everything; [Best] is the fastest one
// that this machine runs and [All] is every one, for tests. The environment
// variable LOWRANK_CPU=generic|avx2|avx512 lowers the choice.
//
// What a kernel is not: it knows no shapes of layers, takes no decisions about
// blocking, starts no goroutine and allocates nothing. package cpu does that.
//
// # Numerics
//
// The order of every sum is part of the contract, so that a result depends on
// shapes only and AVX2 and AVX-512 give the same bits:
//
//   - a matrix product is, per element of C and per call, one chain of fused
//     multiply-adds over k, starting from zero, in the order of the segments;
//     the result is stored or added to C once;
//   - a reduction over a row has 64 lanes, lane j summing the elements i with
//     i mod 64 = j in order (ExpSum, and reductions that fill two sums, have
//     16); the lanes then add as a tree, upper half onto lower half;
//   - a reduction over rows ([Set.ColumnSums] and its kin) is one chain per
//     column;
//   - exp and erf are polynomials of one set of coefficients and one
//     order, in Go and in assembly.
//
// The portable Go code has no float32 FMA and rounds product and sum one by
// one; it agrees with the assembly within a few units of the last place.
// In it, float32(a*b)+c is written out wherever a product meets a sum: the
// conversion forbids the compiler to fuse them, which it would on arm64.
//
// # Memory
//
// Slices passed to a kernel may have any alignment (64 bytes is fastest) and
// an output may be the same slice as an input, but must not overlap one
// partly. Kernels never read or write outside what they are given, not even
// within the same vector. Lengths that disagree are a bug and panic.
//
// # Time
//
// Assembly is not preempted, and a garbage collection waits for it: a call
// should stay under 100 µs. For MatMul, ΣK ≤ [BlockK] sees to that; hand
// the kernels over rows some ten thousand elements at once, not a million.
//
// The assembly is generated: see scripts/kernels.
package kernel
