package cpu

import (
	"bufio"
	"bytes"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// machineRoom is what the machine has left, swap space with it, or a control
// group that this process is in (a container, a service), where that is less.
func machineRoom() (left int64, known bool) { return roomUnder("/") }

// roomUnder is machineRoom for the system files under root.
func roomUnder(root string) (left int64, known bool) {
	machine := numbers(filepath.Join(root, "proc/meminfo"))
	if available, ok := machine["MemAvailable"]; ok {
		left, known = (available+machine["SwapFree"])<<10, true // the file's unit is KiB
	}
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return left, known
	}
	for lines := bufio.NewScanner(bytes.NewReader(groups)); lines.Scan(); { // "hierarchy:controllers:path"
		parts := strings.SplitN(lines.Text(), ":", 3)
		if len(parts) != 3 {
			continue
		}
		v, is := unified, parts[0] == "0"
		for _, controller := range strings.Split(parts[1], ",") {
			if controller == "memory" {
				v, is = legacy, true
			}
		}
		if !is {
			continue
		}
		// A group's limit holds for those within it too. The path may be the machine's
		// while the files are the container's own: then only the last of them is there.
		for at := path.Clean("/" + parts[2]); ; at = path.Dir(at) {
			if n, ok := v.left(filepath.Join(root, v.mount, at)); ok && (!known || n < left) {
				left, known = n, true
			}
			if at == "/" {
				break
			}
		}
	}
	return left, known
}

// hierarchy is how a version of control groups names its memory's files.
type hierarchy struct {
	mount            string // of the controller
	limit, used      string // files of one number in bytes
	inactive, active string // lines of memory.stat: what was read from files, which the kernel drops when it needs memory
}

var (
	unified = hierarchy{"sys/fs/cgroup", "memory.max", "memory.current", "inactive_file", "active_file"}
	legacy  = hierarchy{"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file"}
)

// left is what a group may still take; not ok where it has no limit.
func (v hierarchy) left(group string) (bytes int64, ok bool) {
	limit, ok := number(filepath.Join(group, v.limit))
	if !ok {
		return 0, false // none, or the word "max"
	}
	used, ok := number(filepath.Join(group, v.used))
	if !ok {
		return 0, false
	}
	stat := numbers(filepath.Join(group, "memory.stat"))
	return max(limit-max(used-stat[v.inactive]-stat[v.active], 0), 0), true
}

// number reads a file of one number.
func number(name string) (int64, bool) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}

// numbers reads a file of lines of a name and a number; none where it is not
// there.
func numbers(name string) map[string]int64 {
	text, _ := os.ReadFile(name)
	all := map[string]int64{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
			all[strings.TrimSuffix(fields[0], ":")] = n
		}
	}
	return all
}
