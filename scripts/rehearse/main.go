// Command rehearse deploys template.yaml to an emulator of AWS and uses what
// comes up as a user would: real Lambda binaries, the real runner with its task
// role's credentials, HTTP, S3 events, SQS, DynamoDB and EventBridge, with
// signatures and policies enforced. It trains and draws, and what it gets must be
// the same bytes that `lowrank serve` makes. scripts/rehearse/README.md says what
// it shows and what it cannot.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lowrank/lowrank/infra/aws/emulator"
)

func main() {
	log.SetFlags(0)
	keep := flag.String("keep", "", "folder to work in, kept (default: a temporary one)")
	withClients := flag.Bool("clients", false, "run the client scripts against the stack, too")
	skip := flag.String("skip", "", "steps to leave out, by comma: functions, serve, limits, jobs")
	prebuilt := flag.Bool("prebuilt", false, "take functions and binaries in bin/ as they are")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 25*time.Minute)
	defer cancel()
	begun := time.Now()
	if err := rehearse(ctx, *keep, *prebuilt, *withClients, strings.Split(*skip, ",")); err != nil {
		log.Printf("FAILED after %.0f s: %v", time.Since(begun).Seconds(), err)
		os.Exit(1)
	}
	log.Printf("rehearsed in %.0f s", time.Since(begun).Seconds())
}

// step is a part of a rehearsal; those that follow need what it did.
type step struct {
	name string
	do   func(context.Context) error
}

// rehearsal is one run.
type rehearsal struct {
	stack *stack
	agent *agent
	api   *client
	dir   string
	begun time.Time
	made  []string // SHA-256 of the weights and of the pictures that jobs made; none if it was left out

	served chan served // what `lowrank serve` makes in the meantime
}

// say tells what was shown, and when.
func (r *rehearsal) say(format string, args ...any) {
	log.Printf("[%5.1f s] %s", time.Since(r.begun).Seconds(), fmt.Sprintf(format, args...))
}

func rehearse(ctx context.Context, keep string, prebuilt, withClients bool, skip []string) (err error) {
	root, err := emulator.Root()
	if err != nil {
		return err
	}
	r := &rehearsal{dir: keep, begun: time.Now()}
	if keep == "" {
		if r.dir, err = os.MkdirTemp("", "lowrank-rehearsal-"); err != nil {
			return err
		}
		defer os.RemoveAll(r.dir)
	} else if err := os.MkdirAll(keep, 0o700); err != nil {
		return err
	}
	if !prebuilt {
		if err := build(ctx, root); err != nil {
			return err
		}
		r.say("built")
	}
	logs, err := os.Create(filepath.Join(r.dir, "emulator.log"))
	if err != nil {
		return err
	}
	defer logs.Close()
	authority, err := newAuthority(r.dir)
	if err != nil {
		return err
	}
	emu, err := emulator.Start(ctx, emulator.Options{TLS: &authority.files, Log: logs, Client: *authority.client()})
	if err != nil {
		return err
	}
	defer emu.Stop()
	if r.stack, err = newStack(ctx, root, r.dir, authority, emu); err != nil {
		return err
	}
	r.say("emulator is up")

	api, err := r.front(func() string { return r.stack.Outputs["ApiId"] + ".execute-api.localhost" }, func(h http.Handler) http.Handler { return limited(r.preflights(h)) })
	if err != nil {
		return err
	}
	defer api.close()
	content, err := r.front(func() string { return r.stack.Outputs["ContentDomain"] }, func(h http.Handler) http.Handler { return missing(h, r.stack.serves) })
	if err != nil {
		return err
	}
	defer content.close()
	r.api = &client{http: authority.client(), url: api.URL}
	ctx, cancel := context.WithCancel(ctx)
	defer r.stopServing(cancel)
	steps := []step{
		{"functions", r.functions},
		{"serve", r.startServing},
		{"deploy", func(ctx context.Context) error { return r.deploy(ctx, api.URL, content.URL) }},
		{"consumer", r.deployConsumer},
		{"runners", r.startRunners},
		{"limits", r.limits},
		{"jobs", r.jobs},
		{"endings", func(ctx context.Context) error { return r.endings(ctx, withClients) }},
		{"delete", r.remove},
	}
	for _, step := range steps {
		if slices.Contains(skip, step.name) {
			r.say("LEFT OUT: %s", step.name)
			continue
		}
		if err := step.do(ctx); err != nil {
			r.stopAgent()
			return fmt.Errorf("%s: %w\n%s", step.name, err, r.lastLogs())
		}
	}
	return nil
}

// build makes what is deployed and what runs.
func build(ctx context.Context, root string) error {
	for _, args := range [][]string{
		{"scripts/rehearse/build", architecture()},
		{"go", "build", "-o", "bin/gpurunner", "./gpurunner"},
		{"go", "build", "-o", "bin/lowrank", "./scripts/lowrank"},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir, cmd.Stderr = root, os.Stderr
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
	}
	return nil
}

// front serves one host name of AWS.
func (r *rehearsal) front(host func() string, wrap func(http.Handler) http.Handler) (*front, error) {
	p, err := forward(r.stack.tls, r.stack.emu.URL, host)
	if err != nil {
		return nil, err
	}
	return newFront(r.stack.tls, wrap(p))
}

// lastLogs are the ends of the logs, for who has to find a failure's cause.
func (r *rehearsal) lastLogs() string {
	text := ""
	logs, _ := filepath.Glob(filepath.Join(r.dir, "*.log")) // the pattern is right
	for _, path := range logs {
		if b, err := os.ReadFile(path); err == nil && len(b) > 0 {
			text += "--- " + filepath.Base(path) + "\n" + string(tail(b, 4000)) + "\n"
		}
	}
	return text
}
