package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/mmcloughlin/avo/build"
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// vec writes one function over vectors of float32, for AVX-512 or AVX2. The
// same calls give the same operations in the same order on both, which is why
// both give the same bits.
type vec struct {
	*build.Context
	wide bool // 16 lanes; else 8

	mask   reg.Register // selects the lanes of the tail; nil outside of it
	labels int

	consts  map[uint32]op.Op
	unknown func(bits uint32) op.Op // provides a constant at its first use
	family  *family
}

// The two instruction sets, in the order of the outputs.
var sets = []struct {
	suffix string
	wide   bool
}{{"AVX2", false}, {"AVX512", true}}

// vectors registers a family of functions: name_avx2 and name_avx512.
func vectors(name string, emit func(f *family)) {
	for _, s := range sets {
		files = append(files, file{name + "_" + strings.ToLower(s.suffix), func(c *build.Context) {
			emit(&family{c, s.suffix, s.wide, map[string]op.Mem{}})
		}})
	}
}

type family struct {
	c      *build.Context
	suffix string
	wide   bool
	data   map[string]op.Mem
}

// function writes one function. The body runs twice: first on paper, to learn
// the constants. The AVX-512 form loads the first of them once, before
// everything else; AVX2 has no registers to spare and reads them from memory.
func (f *family) function(name, params, doc string, body func(v *vec)) {
	paper := &vec{Context: build.NewContext(), wide: f.wide, consts: map[uint32]op.Op{}}
	paper.family = &family{paper.Context, f.suffix, f.wide, map[string]op.Mem{}}
	var order []uint32
	paper.unknown = func(bits uint32) op.Op { order = append(order, bits); return paper.reg() }
	begin(paper.Context, name+f.suffix, "func("+params, doc)
	body(paper)

	v := &vec{Context: f.c, wide: f.wide, consts: map[uint32]op.Op{}, family: f}
	begin(f.c, name+f.suffix, "func("+params, doc)
	v.unknown = func(bits uint32) op.Op { panic("constant unknown to the first pass") }
	for i, bits := range order {
		m := f.constant(bits)
		if f.wide && i < constantRegisters {
			r := v.reg()
			v.VBROADCASTSS(m, r)
			v.consts[bits] = r
		} else {
			v.consts[bits] = m
		}
	}
	body(v)
}

// constantRegisters is how many of AVX-512's 32 registers hold constants.
const constantRegisters = 20

// constant lays down a constant once per file, repeated to fill a vector where
// instructions read it from memory.
func (f *family) constant(bits uint32) op.Mem {
	values := make([]uint32, map[bool]int{false: 8, true: 16}[f.wide])
	for i := range values {
		values[i] = bits
	}
	return f.table(fmt.Sprintf("const%08x", bits), values...)
}

// table lays down named data once per file.
func (f *family) table(name string, values ...uint32) op.Mem {
	if m, ok := f.data[name]; ok {
		return m
	}
	m := f.c.StaticGlobal(name)
	f.c.DataAttributes(rodata)
	for _, x := range values {
		f.c.AppendDatum(op.U32(x))
	}
	f.data[name] = m
	return m
}

func (v *vec) lanes() int {
	if v.wide {
		return 16
	}
	return 8
}

func (v *vec) bytes() int { return 4 * v.lanes() }

func (v *vec) reg() reg.VecVirtual {
	if v.wide {
		return v.ZMM()
	}
	return v.YMM()
}

func (v *vec) label(name string) string {
	v.labels++
	return fmt.Sprintf("%s%d", name, v.labels)
}

// bits returns a constant operand, register or memory; f does so for a number.
func (v *vec) bits(b uint32) op.Op {
	c, ok := v.consts[b]
	if !ok {
		c = v.unknown(b)
		v.consts[b] = c
	}
	return c
}

func (v *vec) f(x float32) op.Op { return v.bits(math.Float32bits(x)) }

// in returns x in a register.
func (v *vec) in(x op.Op) reg.Register {
	if r, ok := x.(reg.Register); ok {
		return r
	}
	r := v.reg()
	v.VMOVUPS(x, r)
	return r
}

// param loads an integer or pointer, scalar broadcasts a float32.
func (v *vec) param(name string) reg.GPVirtual {
	r := v.GP64()
	v.Load(v.Param(name), r)
	return r
}

func (v *vec) scalar(name string) reg.Register {
	p, err := v.Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	r := v.reg()
	v.VBROADCASTSS(p.Addr, r)
	return r
}

func (v *vec) zero() reg.Register {
	r := v.reg()
	if v.wide {
		v.VPXORD(r, r, r)
	} else {
		v.VXORPS(r, r, r)
	}
	return r
}

// load and store honour the tail's mask; masked lanes load as zero.
func (v *vec) load(m op.Mem) reg.Register {
	r := v.reg()
	switch {
	case v.mask == nil:
		v.VMOVUPS(m, r)
	case v.wide:
		v.VMOVUPS_Z(m, v.mask, r)
	default:
		v.VMASKMOVPS(m, v.mask, r)
	}
	return r
}

func (v *vec) store(r reg.Register, m op.Mem) {
	switch {
	case v.mask == nil:
		v.VMOVUPS(r, m)
	case v.wide:
		v.VMOVUPS(r, v.mask, m)
	default:
		v.VMASKMOVPS(r, v.mask, m)
	}
}

// operand is load where that needs an instruction of its own, the memory
// operand itself elsewhere.
func (v *vec) operand(m op.Mem) op.Op {
	if v.mask != nil {
		return v.load(m)
	}
	return m
}

// onlyTail zeroes r's lanes outside of the tail, in a tail.
func (v *vec) onlyTail(r reg.Register) reg.Register {
	if v.mask == nil {
		return r
	}
	d := v.reg()
	if v.wide {
		v.VMOVAPS_Z(r, v.mask, d)
	} else {
		v.VANDPS(v.mask, r, d)
	}
	return d
}

// tailElse returns x, outside of a tail's lanes other.
func (v *vec) tailElse(x op.Op, other reg.Register) op.Op {
	if v.mask == nil {
		return x
	}
	d := v.copy(other)
	if v.wide {
		v.VMOVUPS(x, v.mask, d)
	} else {
		v.VBLENDVPS(v.mask, x, other, d)
	}
	return d
}

// setTail makes the mask of the first n lanes, 0 < n < lanes.
func (v *vec) setTail(n reg.Register) {
	if v.wide {
		bits, k := v.GP32(), v.K()
		v.XORL(bits, bits)
		v.BTSL(n.(reg.GP).As32(), bits)
		v.DECL(bits)
		v.KMOVW(bits, k)
		v.mask = k
		return
	}
	at, m := v.GP64(), v.YMM()
	v.MOVQ(n, at)
	v.NEGQ(at)
	table := v.GP64()
	v.LEAQ(op.NewDataAddr(op.Symbol{Name: "·laneMask"}, 0), table)
	v.VMOVDQU(op.Mem{Base: table, Index: at, Scale: 4, Disp: 64}, m)
	v.mask = m
}

func (v *vec) noTail() { v.mask = nil }

// The arithmetic below returns a new register; each operand may be memory
// where the comment of its instruction in Intel's manual allows: the last.

func (v *vec) binary(f func(ops ...op.Op), b, a op.Op) reg.Register {
	r := v.reg()
	f(b, v.in(a), r)
	return r
}

func (v *vec) add(a, b op.Op) reg.Register { return v.binary(v.VADDPS, b, a) }
func (v *vec) sub(a, b op.Op) reg.Register { return v.binary(v.VSUBPS, b, a) }
func (v *vec) mul(a, b op.Op) reg.Register { return v.binary(v.VMULPS, b, a) }
func (v *vec) div(a, b op.Op) reg.Register { return v.binary(v.VDIVPS, b, a) }

// min returns b where either is NaN.
func (v *vec) min(a, b op.Op) reg.Register { return v.binary(v.VMINPS, b, a) }

func (v *vec) sqrt(a op.Op) reg.Register {
	r := v.reg()
	v.VSQRTPS(a, r)
	return r
}

func (v *vec) and(a, b op.Op) reg.Register {
	if v.wide {
		return v.binary(v.VPANDD, b, a)
	}
	return v.binary(v.threeAND, b, a)
}

func (v *vec) or(a, b op.Op) reg.Register {
	if v.wide {
		return v.binary(v.VPORD, b, a)
	}
	return v.binary(v.threeOR, b, a)
}

func (v *vec) xor(a, b op.Op) reg.Register {
	if v.wide {
		return v.binary(v.VPXORD, b, a)
	}
	return v.binary(v.threeXOR, b, a)
}

func (v *vec) threeAND(o ...op.Op) { v.VANDPS(o[0], o[1], o[2]) }
func (v *vec) threeOR(o ...op.Op)  { v.VORPS(o[0], o[1], o[2]) }
func (v *vec) threeXOR(o ...op.Op) { v.VXORPS(o[0], o[1], o[2]) }

// fma returns a·b + c; a is overwritten. c may be memory.
func (v *vec) fma(a reg.Register, b, c op.Op) reg.Register {
	v.VFMADD213PS(c, v.in(b), a)
	return a
}

// addMul does acc += a·b, subMul acc −= a·b. b may be memory.
func (v *vec) addMul(acc, a reg.Register, b op.Op) { v.VFMADD231PS(b, a, acc) }
func (v *vec) subMul(acc, a reg.Register, b op.Op) { v.VFNMADD231PS(b, a, acc) }

func (v *vec) copy(a op.Op) reg.Register {
	r := v.reg()
	v.VMOVUPS(a, r)
	return r
}

// The predicates of VCMPPS that the functions need.
const (
	isNaN       = 0x03
	lessThan    = 0x11 // false for NaN
	notLess     = 0x15 // true for NaN
	notMore     = 0x1a // true for NaN
	notLessOrEq = 0x16 // true for NaN
)

// where returns yes in the lanes where a ? b holds, else no. It overwrites no:
// avo takes the target of a masked instruction to be read.
func (v *vec) where(predicate uint64, a reg.Register, b op.Op, yes, no reg.Register) reg.Register {
	if v.wide {
		k := v.K()
		v.VCMPPS(op.Imm(predicate), b, a, k)
		v.VMOVAPS(yes, k, no)
		return no
	}
	m := v.reg()
	v.VCMPPS(op.Imm(predicate), b, a, m)
	v.VBLENDVPS(m, yes, no, no)
	return no
}

// zeroUnless returns x in the lanes where a ? b holds, else zero.
func (v *vec) zeroUnless(predicate uint64, a reg.Register, b op.Op, x reg.Register) reg.Register {
	r := v.reg()
	if v.wide {
		k := v.K()
		v.VCMPPS(op.Imm(predicate), b, a, k)
		v.VMOVAPS_Z(x, k, r)
		return r
	}
	m := v.reg()
	v.VCMPPS(op.Imm(predicate), b, a, m)
	v.VANDPS(m, x, r)
	return r
}

func (v *vec) end() {
	v.VZEROUPPER()
	v.RET()
}
