package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/lowrank/lowrank/scripts/lowrank/demo"
)

func demoCommand() *cobra.Command {
	var keep string
	var open bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: train a style and a mascot, draw with both",
		Long: `See it work: start the service in a folder of its own, upload pictures, train a style and a mascot, and draw with both,
all over HTTP as any client would. It ends with one picture that shows what was learnt.`,
		Example: "  lowrank demo --open\n  lowrank demo --keep ./demo",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := demoDir(keep)
			if err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			bars := &bars{cmd: cmd}
			res, err := demo.Run(cmd.Context(), demo.Options{Binary: self, Dir: dir, Out: cmd.OutOrStdout(), Progress: bars.set})
			bars.close()
			if err != nil {
				if keep == "" {
					err = errors.Join(err, os.RemoveAll(dir))
				}
				return err
			}
			report(cmd, res, keep)
			if open {
				return openFile(res.Sheet)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "", "folder to work in (default: a temporary one)")
	cmd.Flags().BoolVar(&open, "open", false, "open the contact sheet at the end")
	return cmd
}

// demoDir makes the folder; one that holds something already is left alone.
func demoDir(keep string) (string, error) {
	if keep == "" {
		dir, err := os.MkdirTemp("", "lowrank-demo-*")
		if err != nil {
			return "", fmt.Errorf("no folder can be made for temporary files (%w): set TMPDIR, or name a folder with --keep", err)
		}
		return dir, nil
	}
	entries, err := os.ReadDir(keep)
	if err == nil && len(entries) > 0 {
		return "", fmt.Errorf("--keep %s: the folder is not empty; name a new one", keep)
	}
	if err := os.MkdirAll(keep, 0o755); err != nil {
		return "", err
	}
	return filepath.Abs(keep)
}

// bars shows one progress after the other.
type bars struct {
	cmd   *cobra.Command
	label string
	now   *progress
}

func (b *bars) set(label string, done, total int) {
	if label != b.label {
		b.close()
		b.label, b.now = label, newProgress(b.cmd.ErrOrStderr(), label)
	}
	b.now.set(done, total, "")
}

func (b *bars) close() {
	if b.now != nil {
		b.now.close()
	}
	b.now = nil
}

func report(cmd *cobra.Command, res *demo.Result, keep string) {
	out := cmd.OutOrStdout()
	fmt.Fprintln(out)
	for _, p := range res.Parts {
		fmt.Fprintf(out, "%8s  %s\n", p.Took.Round(100*time.Millisecond), p.Name)
	}
	fmt.Fprintf(out, "\nThe contact sheet: %s\nThe style:         %s\nThe mascot:        %s\n", res.Sheet, res.Style, res.Mascot)
	if keep == "" {
		fmt.Fprintf(out, "All of it lies in %s; remove it when you are done.\n", filepath.Dir(res.Sheet))
	}
	fmt.Fprintf(out, "\nNext:\n  lowrank generate --lora %s --lora-scale 0.7 \"a robot in the style of <1>\"\n  lowrank serve --data %s\n", res.Style, res.Data)
}

// openFile shows a file with the desktop's own program.
func openFile(path string) error {
	name := map[string]string{"darwin": "open", "windows": "explorer"}[runtime.GOOS]
	if name == "" {
		name = "xdg-open"
	}
	if err := exec.Command(name, path).Start(); err != nil {
		return fmt.Errorf("could not open %s: %w", path, err)
	}
	return nil
}
