// Command kernels writes the assembly of gpurunner/device/cpu/kernel. See
// README.md.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("kernels: ")
	out := flag.String("dir", "../../gpurunner/device/cpu/kernel", "folder to write to")
	flag.Parse()
	for _, f := range files {
		if err := f.write(*out); err != nil {
			log.Fatal(err)
		}
	}
}

// file is one pair of outputs: name_amd64.s and its stubs, name_amd64.go.
type file struct {
	name string
	emit func(c *build.Context)
}

var files []file

func (f file) write(dir string) error {
	c := build.NewContext()
	c.ConstraintExpr("!purego")
	f.emit(c)
	ir, err := c.Result()
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	if err := pass.Compile.Execute(ir); err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	cfg := printer.Config{Name: "scripts/kernels", Pkg: "kernel"}
	asm, err := printer.NewGoAsm(cfg).Print(ir)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	stubs, err := printer.NewStubs(cfg).Print(ir)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	if strings.HasSuffix(f.name, "avx2") {
		if r := highRegister.Find(asm); r != nil {
			return fmt.Errorf("%s: %s does not exist in AVX2", f.name, r)
		}
	}
	// avo still writes the old form of the constraint beside the new one.
	asm = bytes.ReplaceAll(asm, []byte("// +build !purego\n"), nil)
	stubs = bytes.ReplaceAll(stubs, []byte("// +build !purego\n"), nil)
	base := filepath.Join(dir, f.name+"_amd64")
	if err := os.WriteFile(base+".s", asm, 0o644); err != nil {
		return err
	}
	return os.WriteFile(base+".go", stubs, 0o644)
}

// highRegister finds registers that only AVX-512 has: avo hands them out, and
// the assembler takes them, whatever the processor.
var highRegister = regexp.MustCompile(`\b([XY](1[6-9]|2\d|3[01])|Z\d+|K[0-7])\b`)

// begin starts a function that Go calls with pointers that do not escape.
func begin(c *build.Context, name, signature, doc string) {
	c.Function(name)
	c.Attributes(attr.NOSPLIT)
	c.SignatureExpr(signature)
	c.Doc(name + " " + doc)
	c.Pragma("noescape")
}

const rodata = attr.RODATA | attr.NOPTR
