package container

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/lowrank/lowrank/gpurunner/device/pick"
)

// Main is the program's main. It does not return.
func Main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	default:
		fmt.Fprintln(os.Stderr, "gpurunner:", err)
		os.Exit(1)
	}
}

// options are what the command line asks for.
type options struct {
	queue, cache string
	device       pick.Request
}

const usage = `gpurunner [flags]          run the jobs of a queue of a deployment on AWS
gpurunner doctor [flags]   say what this machine computes on, and prove that it computes right
`

// Run is the command: doctor, or the jobs of a queue until ctx ends.
func Run(ctx context.Context, args []string, out, messages io.Writer) error {
	doctor := len(args) > 0 && args[0] == "doctor"
	if doctor {
		args = args[1:]
	}
	o, err := parse(args, messages)
	if err != nil {
		return err
	}
	note := func(what string) { slog.Info(what) }
	if err := pick.Handover(pick.Program, o.device, note); err != nil {
		return err
	}
	if doctor {
		return pick.Doctor(out, o.device)
	}
	return run(ctx, o, note)
}

func parse(args []string, messages io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("gpurunner", flag.ContinueOnError)
	flags.SetOutput(messages)
	flags.Usage = func() {
		fmt.Fprint(messages, usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.queue, "queue", "predictions", "queue to take jobs from: predictions or trainings")
	flags.StringVar(&o.cache, "cache", "", "folder for base models and fetched files")
	flags.StringVar(&o.device.Device, "device", "auto", strings.Join(pick.Choices(), ", ")+"; auto takes the GPU where there is one")
	flags.StringVar(&o.device.Precision, "precision", "", "of the operands of products: "+strings.Join(pick.Precisions(), ", ")+
		"; auto takes bf16 where it is fast (default: auto on a GPU, f32 on a processor, as in lowrank serve)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is not a command; there is doctor, and jobs without a command", flags.Arg(0))
	}
	return o, o.device.Check()
}
