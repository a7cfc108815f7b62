package paritytest

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
)

// Main is the TestMain of a package that tests against expected numbers:
//
//	func TestMain(m *testing.M) { paritytest.Main(m) }
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run runs the tests, prints what was compared, removes the unpacked set and returns the exit status, for a
// package whose TestMain has more to do.
func Run(m *testing.M) int {
	code := m.Run()
	if line := counts.String(); line != "" {
		fmt.Println(line)
	}
	if smallDir != "" {
		os.RemoveAll(smallDir)
	}
	return code
}

// tally counts what this process compared, a class and root at a time.
type tally struct {
	mu              sync.Mutex
	cases, compared map[string]int
}

var counts = tally{cases: map[string]int{}, compared: map[string]int{}}

func (c *tally) add(root, class string, outputs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cases[root+" "+class]++
	c.compared[root+" "+class] += outputs
}

func (c *tally) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var keys []string
	for k := range c.cases {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var parts []string
	for _, k := range keys {
		parts = append(parts, fmt.Sprintf("%s: %d cases, %d outputs", k, c.cases[k], c.compared[k]))
	}
	if len(parts) == 0 {
		return ""
	}
	return "parity " + filepath.Base(os.Args[0]) + ": " + strings.Join(parts, "; ")
}
