package cpu

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// TestMoreThanTheMachineHas: memory that Linux would map, and end the process
// for once it is touched, is refused.
func TestMoreThanTheMachineHas(t *testing.T) {
	if err := room(1 << 50); err == nil {
		t.Skip("this system does not say what memory is left")
	}
	d := newDevice(t, Options{})
	if _, err := d.Alloc(1 << 45); !errors.Is(err, device.ErrOutOfMemory) {
		t.Errorf("32 TiB: %v, want %v", err, device.ErrOutOfMemory)
	}
	b, err := d.Alloc(128 << 20)
	if err != nil {
		t.Fatal(err)
	}
	d.Release(b)
}

// TestRoomUnder: the least of the machine and the control groups around the
// process, as both versions of Linux's control groups tell it.
func TestRoomUnder(t *testing.T) {
	const meminfo = "MemTotal:       24000 kB\nMemAvailable:   16000 kB\nSwapFree:   1000 kB\n"
	tests := []struct {
		name  string
		files map[string]string
		want  int64
		known bool
	}{
		{"Nothing", nil, 0, false},
		{"Machine", map[string]string{"proc/meminfo": meminfo}, 17000 << 10, true},
		{"Unified", map[string]string{
			"proc/meminfo":     meminfo,
			"proc/self/cgroup": "0::/system.slice/lowrank.service\n",
			"sys/fs/cgroup/system.slice/lowrank.service/memory.max":     "5000000\n",
			"sys/fs/cgroup/system.slice/lowrank.service/memory.current": "4000000\n",
			"sys/fs/cgroup/system.slice/lowrank.service/memory.stat":    "anon 3000000\ninactive_file 300000\nactive_file 200000\n",
			"sys/fs/cgroup/system.slice/memory.max":                     "max\n",
		}, 1500000, true},
		{"AroundIt", map[string]string{
			"proc/meminfo":                             meminfo,
			"proc/self/cgroup":                         "0::/outer/inner\n",
			"sys/fs/cgroup/outer/inner/memory.max":     "9000000\n",
			"sys/fs/cgroup/outer/inner/memory.current": "0\n",
			"sys/fs/cgroup/outer/memory.max":           "3000000\n",
			"sys/fs/cgroup/outer/memory.current":       "1000000\n",
		}, 2000000, true},
		{"Container", map[string]string{ // sees its own group as the root
			"proc/meminfo":                 meminfo,
			"proc/self/cgroup":             "0::/\n",
			"sys/fs/cgroup/memory.max":     "2000000\n",
			"sys/fs/cgroup/memory.current": "500000\n",
		}, 1500000, true},
		{"Legacy", map[string]string{
			"proc/meminfo":     meminfo,
			"proc/self/cgroup": "9:pids:/\n4:cpu,memory:/docker/1f\n0::/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "4000000\n",
			"sys/fs/cgroup/memory/memory.usage_in_bytes": "3500000\n",
			"sys/fs/cgroup/memory/memory.stat":           "total_inactive_file 500000\ntotal_active_file 0\n",
		}, 1000000, true},
		{"NoLimit", map[string]string{
			"proc/meminfo":     meminfo,
			"proc/self/cgroup": "4:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
			"sys/fs/cgroup/memory/memory.usage_in_bytes": "3500000\n",
		}, 17000 << 10, true},
		{"Full", map[string]string{
			"proc/self/cgroup":             "0::/\n",
			"sys/fs/cgroup/memory.max":     "1000\n",
			"sys/fs/cgroup/memory.current": "4096\n",
		}, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range tt.files {
				p := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(p, []byte(text), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			if left, known := roomUnder(root); left != tt.want || known != tt.known {
				t.Errorf("%d bytes, known %v; want %d, %v", left, known, tt.want, tt.known)
			}
		})
	}
}
