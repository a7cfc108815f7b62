//go:build cuda

package pick

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/lowrank/lowrank/gpurunner/device/cuda"
)

const built = true

// The answer to probe, before main: whoever asks wants no more of this process.
func init() {
	if os.Getenv(probeEnv) == "" {
		return
	}
	info, err := cuda.Probe(0)
	if err == nil {
		err = cuda.Usable(info)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(info); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}
