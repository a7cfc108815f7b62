package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api"
	"github.com/lowrank/lowrank/functions/ingest"
	"github.com/lowrank/lowrank/functions/notify"
	"github.com/lowrank/lowrank/functions/sweep"
	"github.com/lowrank/lowrank/functions/web"
	"github.com/lowrank/lowrank/gpurunner/worker"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/local"
	"github.com/lowrank/lowrank/infra/registry"
)

// The service as `lowrank serve` runs it, in two processes over one folder, but
// for the model: it does nothing, for as long as it is asked to. bench starts
// itself as these two.
const (
	noopService = "noop-service"
	noopRunner  = "noop-runner"
)

// noop runs one of the two on a data folder, until it is told to stop.
func noop(which, dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	store, err := local.Open(context.WithoutCancel(ctx), dir, local.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	if which == noopRunner {
		ctx, cancel := context.WithCancel(ctx)
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // ends with the service
			cancel()
		}()
		l := &worker.Loop{Ports: store.Ports(), Queue: infra.PredictionQueue, Scratch: dir, Log: slog.New(slog.DiscardHandler),
			Programs: map[events.Program]worker.Program{events.ProgramLora: doNothing}}
		return l.Run(ctx)
	}
	return serveNoop(ctx, store, dir)
}

func serveNoop(ctx context.Context, store *local.Store, dir string) error {
	debug.SetGCPercent(400) // as serve does
	ports, quiet := store.Ports(), slog.New(slog.DiscardHandler)
	catalogue, err := events.NewCatalogue(events.BaseLimits{Name: "noop", SHA256: strings.Repeat("0", 64), Sizes: []int{64}, Width: 64, Height: 64,
		Resolution: 64, MinResolution: 64, ResolutionMultiple: 8, InferenceSteps: 1}.WithDefaults())
	if err != nil {
		return err
	}
	token, err := registry.Open(ports.Documents).CreateToken(ctx, registry.DefaultOwner, time.Now())
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	runner := exec.Command(self, noopRunner, dir)
	runner.Stderr = os.Stderr
	stdin, err := runner.StdinPipe()
	if err != nil {
		return err
	}
	if err := runner.Start(); err != nil {
		return err
	}
	for _, run := range []func(){
		func() { ingest.New(ports, 1<<30, quiet).Run(ctx) },
		func() { notify.New(ports, http.DefaultClient, quiet).Run(ctx) },
		func() { sweep.New(ports, 0, quiet).Run(ctx) },
	} {
		go run()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	handler := api.New(api.Config{Ports: ports, Catalogue: catalogue, Stream: true, Log: quiet})
	server := &http.Server{Handler: web.New(web.Config{Ports: ports, Catalogue: catalogue, API: handler, Log: quiet})}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	fmt.Printf("http://%s %s\n", listener.Addr(), token)
	_ = server.Serve(listener) // until Close
	stdin.Close()
	return runner.Wait()
}

// doNothing reads for how many seconds from the prompt's last word, and says when
// it began.
func doNothing(ctx context.Context, t *worker.Task) error {
	begun := time.Now()
	var in events.LoraInput
	job := t.Job()
	if err := job.DecodeInput(events.BaseLimits{}, &in); err != nil {
		return err
	}
	words := strings.Fields(in.Prompt)
	seconds, err := strconv.ParseFloat(words[len(words)-1], 64)
	if err != nil {
		return fmt.Errorf("prompt: its last word must be a number of seconds")
	}
	t.Logf("begun %.6f", float64(begun.UnixMicro())/1e6)
	for end := begun.Add(time.Duration(seconds * float64(time.Second))); time.Now().Before(end); {
		t.Step("sampling", int(time.Since(begun)/time.Second), int(seconds), 0, "")
		select {
		case <-time.After(min(time.Until(end), 100*time.Millisecond)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return t.Output(ctx, "out-0.png", "image/png", strings.NewReader(in.Prompt))
}
