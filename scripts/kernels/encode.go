package main

import (
	"fmt"
	"strings"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/reg"
)

// Instructions that neither avo nor Go's assembler knows, byte by byte, after
// Intel's manual, volume 2 (AMX: chapter 3 of the extensions' reference).

// raw emits an instruction's bytes under its name.
func raw(c *build.Context, name string, code ...byte) {
	text := make([]string, len(code))
	for i, b := range code {
		text[i] = fmt.Sprintf("BYTE $0x%02x", b)
	}
	c.Comment(name)
	c.Instruction(&ir.Instruction{Opcode: strings.Join(text, "; ")})
}

// number is a register's number in an encoding.
func number(r reg.Physical) byte { return byte(r.PhysicalIndex()) }

// general is a general register's number: avo orders them as the encoding does.
var general = map[reg.GPPhysical]byte{
	reg.RAX: 0, reg.RCX: 1, reg.RDX: 2, reg.RBX: 3, reg.RSI: 6, reg.RDI: 7,
	reg.R8: 8, reg.R9: 9, reg.R10: 10, reg.R11: 11, reg.R12: 12, reg.R13: 13, reg.R14: 14, reg.R15: 15,
}

// The mandatory prefixes of a VEX or EVEX encoding.
const (
	prefixNone = 0
	prefixF3   = 2
	prefixF2   = 3
)

// vex is a three-byte VEX.128.0F38.W0 prefix with its opcode; vvvv is 0 where
// unused.
func vex(prefix, opcode, vvvv byte, index, base byte) []byte {
	return []byte{0xc4, 0x80 | (index>>3^1)<<6 | (base>>3^1)<<5 | 2, (vvvv^15)<<3 | prefix, opcode}
}

// tile instructions with memory: [base + disp + index], rows index bytes apart.
func tileMemory(c *build.Context, name string, prefix byte, tile byte, base, index reg.GPPhysical, disp int8) {
	b, i := general[base], general[index]
	code := append(vex(prefix, 0x4b, 0, i, b), 0x44|tile<<3, (i&7)<<3|b&7, byte(disp))
	raw(c, name, code...)
}

func tileLoad(c *build.Context, tile byte, base, index reg.GPPhysical, disp int8) {
	tileMemory(c, fmt.Sprintf("TILELOADD %d(%s)(%s*1), TMM%d", disp, base.Asm(), index.Asm(), tile), prefixF2, tile, base, index, disp)
}

func tileStore(c *build.Context, tile byte, base, index reg.GPPhysical, disp int8) {
	tileMemory(c, fmt.Sprintf("TILESTORED TMM%d, %d(%s)(%s*1)", tile, disp, base.Asm(), index.Asm()), prefixF3, tile, base, index, disp)
}

func tileZero(c *build.Context, tile byte) {
	raw(c, fmt.Sprintf("TILEZERO TMM%d", tile), append(vex(prefixF2, 0x49, 0, 0, 0), 0xc0|tile<<3)...)
}

// tileProduct adds a·b to sum.
func tileProduct(c *build.Context, sum, a, b byte) {
	raw(c, fmt.Sprintf("TDPBF16PS TMM%d, TMM%d, TMM%d", b, a, sum), append(vex(prefixF3, 0x5c, b, 0, 0), 0xc0|sum<<3|a)...)
}

func tileConfigure(c *build.Context, base reg.GPPhysical) {
	b := general[base]
	raw(c, fmt.Sprintf("LDTILECFG (%s)", base.Asm()), append(vex(prefixNone, 0x49, 0, 0, b), b&7)...)
}

func tileRelease(c *build.Context) {
	raw(c, "TILERELEASE", append(vex(prefixNone, 0x49, 0, 0, 0), 0xc0)...)
}

// pairProduct is VDPBF16PS: sum += a₁·b₁, then sum += a₀·b₀, in each lane.
func pairProduct(c *build.Context, a, b, sum reg.VecPhysical) {
	d, v, m := number(sum), number(a), number(b)
	raw(c, fmt.Sprintf("VDPBF16PS %s, %s, %s", b.Asm(), a.Asm(), sum.Asm()),
		0x62,
		(d>>3&1^1)<<7|(m>>4&1^1)<<6|(m>>3&1^1)<<5|(d>>4&1^1)<<4|2,
		(v&15^15)<<3|4|prefixF3,
		0x40|(v>>4&1^1)<<3,
		0x52, 0xc0|(d&7)<<3|m&7)
}
