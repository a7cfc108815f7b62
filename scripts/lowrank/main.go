// Command lowrank draws with Stable Diffusion, teaches it concepts from a few
// pictures, and serves both over HTTP.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lowrank/lowrank/gpurunner/container"
)

func main() {
	// The CUDA build is both programs: which of them became it, its name says.
	if strings.HasPrefix(filepath.Base(os.Args[0]), "gpurunner") {
		container.Main()
	}
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup has it ignored
		signals = append(signals, syscall.SIGHUP) // the terminal was closed
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	err := root().ExecuteContext(ctx)
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "lowrank: stopped")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "lowrank:", err)
		os.Exit(1)
	}
}

// root is the command without a verb. Each verb is a file of this package.
func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "lowrank",
		Short:         "Teach Stable Diffusion a concept from a few pictures, and draw with it",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version,
		Example: `  lowrank demo
  lowrank train --task style --out neon.safetensors neon-sign.zip
  lowrank generate --lora neon.safetensors --lora-scale 0.5 "a castle in the style of <1>"
  lowrank serve`,
	}
	cmd.AddCommand(
		demoCommand(),
		generateCommand(),
		trainCommand(),
		convertCommand(),
		inspectCommand(),
		serveCommand(),
		tokenCommand(),
		baseCommand(),
		runnerCommand(),
		doctorCommand(),
		versionCommand(),
	)
	cmd.SetVersionTemplate(versionLine() + "\n")
	addHelpers(cmd)
	return verbs(cmd)
}
