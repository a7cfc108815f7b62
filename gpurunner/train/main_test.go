package train

import (
	"os"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/paritytest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(child(dir))
	}
	paritytest.Main(m)
}
