//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/device/cuda/kernels"
	"github.com/lowrank/lowrank/gpurunner/device/selftest"
)

// variants tells for which compute capabilities the chosen modules were compiled.
func variants(capability int) string {
	at := map[int][]string{}
	for family, m := range kernels.For(capability) {
		at[m.Arch] = append(at[m.Arch], family)
	}
	out := ""
	for _, arch := range slices.Sorted(maps.Keys(at)) {
		slices.Sort(at[arch])
		out += fmt.Sprintf("; for %d.%d: %s", arch/10, arch%10, strings.Join(at[arch], ", "))
	}
	return out
}

// Doctor says what the driver, the GPU and the kernels are, and proves them by a
// self-test. Its error says what to mend.
func Doctor(w io.Writer, o Options) error {
	info, err := Probe(o.Ordinal)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "driver         CUDA %d.%d (the kernels need 12.1, driver 530)\n", info.Driver/1000, info.Driver%1000/10)
	fmt.Fprintf(w, "GPU            %s, compute capability %d.%d, %d multiprocessors\n", info.Name, info.Capability/10, info.Capability%10, info.Processors)
	fmt.Fprintf(w, "memory         %s, %d KiB shared by a block\n", mib(info.Memory), info.SharedMemory>>10)
	code := "compiled by the driver from PTX " + info.PTX
	if info.MachineCode {
		code = "machine code for this GPU"
	}
	fmt.Fprintf(w, "kernels        %s%s\n", code, variants(info.Capability))
	d, err := Open(o)
	if err != nil {
		return err
	}
	defer d.Close()
	fmt.Fprintf(w, "products       %s\n", d.info.Kernels)
	reference, err := cpu.New(cpu.Options{})
	if err != nil {
		return err
	}
	defer reference.Close()
	begin := time.Now()
	checks, err := selftest.Run(d, reference, d.options.Precision)
	err = errors.Join(err, selftest.Write(w, checks))
	fmt.Fprintf(w, "self-test      %v\n", time.Since(begin).Round(time.Millisecond))
	return err
}
