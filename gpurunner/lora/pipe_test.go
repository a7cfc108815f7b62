//go:build unix

package lora_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lowrank/lowrank/gpurunner/lora"
)

// TestPipe: a named pipe that nobody writes to is refused, not waited for; also
// in a folder that PEFT saved.
func TestPipe(t *testing.T) {
	base := smallBase(t, "sd15-tiny")
	dir := t.TempDir()
	pipe := func(elements ...string) string {
		path := filepath.Join(append([]string{dir}, elements...)...)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe("weights", "adapter_model.safetensors")
	config := filepath.Join(dir, "config")
	pipe("config", "adapter_config.json")
	set := randomSet(base, 1, base.Targets(lora.UNet, ""))
	if err := lora.WriteFile(filepath.Join(config, "adapter_model.safetensors"), set, lora.Diffusers); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"Pipe": pipe("p"), "SafetensorsPipe": pipe("p.safetensors"), "Device": os.DevNull,
		"PipeInFolder": filepath.Join(dir, "weights"), "PipeOfConfiguration": config,
	} {
		t.Run("Err"+name, func(t *testing.T) {
			done := make(chan error, 1)
			go func() {
				_, err := lora.Inspect(path)
				if err == nil {
					_, err = lora.Open(path, base)
				}
				done <- err
			}()
			select {
			case err := <-done:
				if err == nil || !strings.Contains(err.Error(), "is not a regular file; give the file itself") {
					t.Errorf("got %v", err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("it waits for somebody to write to the pipe")
			}
		})
	}
}
