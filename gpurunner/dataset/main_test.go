package dataset

import (
	"testing"

	"github.com/lowrank/lowrank/gpurunner/paritytest"
)

func TestMain(m *testing.M) { paritytest.Main(m) }
