package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unicode"

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
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var show string
			if open {
				var err error
				if show, err = opener(); err != nil {
					return err
				}
			}
			dir, err := demoDir(keep)
			if err != nil {
				return err
			}
			if n, err := freeBytes(dir); err == nil && n < demoBytes {
				return errors.Join(fmt.Errorf("%s has %d MB left, and the demo needs %d: free some space there, or name a folder on another disk with --keep",
					filepath.Dir(dir), n/1e6, int64(demoBytes/1e6)), os.Remove(dir))
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			bars := &bars{cmd: cmd}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			signal.Ignore(syscall.SIGPIPE) // it would end this at once, and leave the folder
			out := &audience{w: cmd.OutOrStdout(), gone: cancel}
			res, err := demo.Run(ctx, demo.Options{Binary: self, Dir: dir, Out: out, Write: writeFile, Progress: bars.set})
			bars.close()
			if err != nil {
				if keep == "" {
					err = errors.Join(err, os.RemoveAll(dir))
				}
				return err
			}
			report(cmd, res, keep)
			if open {
				return exec.Command(show, res.Sheet).Start()
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "", "folder to work in (default: a temporary one)")
	cmd.Flags().BoolVar(&open, "open", false, "open the contact sheet at the end")
	return cmd
}

// audience is who reads what the demo says; when nobody does any more, it ends.
type audience struct {
	w    io.Writer
	gone func()
}

// Write implements io.Writer.
func (a *audience) Write(p []byte) (int, error) {
	n, err := a.w.Write(p)
	if err != nil {
		a.gone()
	}
	return n, err
}

// demoBytes is what the demo may take of the disk on its way; at the end it is a fifth.
const demoBytes = 32e6

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
		return "", fmt.Errorf("--keep %s: %w", keep, err)
	}
	return filepath.Abs(keep)
}

// bars shows one progress after the other.
type bars struct {
	cmd   *cobra.Command
	label string
	phase int
	now   *progress
}

func (b *bars) set(label string, phase, done, total int) {
	if label != b.label || phase != b.phase {
		b.close()
		b.label, b.phase, b.now = label, phase, newProgress(b.cmd.ErrOrStderr(), label)
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
	self := program()
	fmt.Fprintf(out, "\nNext, draw something else in the style:\n  %s generate --lora %s --lora-scale %s --guidance %d \"a whale in the style of <1>\"\n", self, quoted(res.Style), demo.StyleScale, demo.StyleGuidance)
	fmt.Fprintf(out, "or open the pages of the service in a browser, with a token to sign in:\n  %[1]s token create --data %[2]s\n  %[1]s serve --data %[2]s\n", self, quoted(res.Data))
}

// program is how the user calls this program from where they are.
func program() string {
	self, err := os.Executable()
	if err == nil && strings.Contains(self, string(filepath.Separator)+"go-build") {
		return "go run ./scripts/lowrank" // whose program is gone when it ends
	}
	if found, lookErr := exec.LookPath("lowrank"); err == nil && lookErr == nil && found == self {
		return "lowrank"
	}
	return quoted(os.Args[0])
}

// quoted is a path as a shell takes it.
func quoted(path string) string {
	if strings.IndexFunc(path, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("/._-+:\\", r)
	}) < 0 {
		return path
	}
	if runtime.GOOS == "windows" {
		return `"` + path + `"`
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// opener is the desktop's own program that shows files.
func opener() (string, error) {
	name := map[string]string{"darwin": "open", "windows": "explorer"}[runtime.GOOS]
	if name == "" {
		name = "xdg-open"
	}
	if _, err := exec.LookPath(name); err != nil {
		return "", fmt.Errorf("--open: there is no %s here to open the sheet with; leave --open out, the demo says where it is", name)
	}
	return name, nil
}
