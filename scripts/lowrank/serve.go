package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api"
	"github.com/lowrank/lowrank/functions/ingest"
	"github.com/lowrank/lowrank/functions/notify"
	"github.com/lowrank/lowrank/functions/sweep"
	"github.com/lowrank/lowrank/functions/web"
	"github.com/lowrank/lowrank/gpurunner/device/pick"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/bodies"
	"github.com/lowrank/lowrank/infra/local"
	"github.com/lowrank/lowrank/infra/registry"
)

// serveFlags are the flags of lowrank serve.
type serveFlags struct {
	addr, data, publicURL, eventsTo string
	bases                           []string
	runners                         int
	selfSigned, loopback, attached  bool
	device                          pick.Request // of the runners
}

const (
	uploadLimit  = 1 << 30 // bytes
	stopPatience = 30 * time.Second
	// gcPercent lets garbage grow to some times the live heap, which is a few
	// megabytes: many small requests then collect it seldom.
	gcPercent = 400
)

func serveCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve training and drawing over HTTP, with everything in one folder",
		Long: `Serve training and drawing over HTTP, with the API of Replicate, so that its clients work unchanged.

Jobs, files and tokens are kept in one folder. Runners are processes of their own: drawing stays quick while a training runs.
On the first start a token is made and printed; "lowrank token create" makes more.`,
		Example: `  lowrank serve
  lowrank serve --data /srv/lowrank --addr 0.0.0.0:8010 --tls-self-signed
  lowrank serve --base sd15=./stable-diffusion-v1-5 --base anime=./anime.safetensors`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd, &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.addr, "addr", "127.0.0.1:8010", "address to listen on")
	flags.StringVar(&f.data, "data", "", dataHelp)
	flags.StringArrayVar(&f.bases, "base", nil, "NAME=PATH of a base model; may be repeated, the first is the default")
	flags.IntVar(&f.runners, "runners", 1, "runners that draw, and as many that train")
	flags.StringVar(&f.publicURL, "public-url", "", "address under which clients reach the service (default: as they ask)")
	deviceFlags(flags, &f.device)
	flags.BoolVar(&f.selfSigned, "tls-self-signed", false, "serve HTTPS with a certificate of its own making, kept in the data folder")
	flags.BoolVar(&f.loopback, "allow-loopback", false, "let webhooks and user URLs reach this machine (for tests)")
	flags.StringVar(&f.eventsTo, "events-to", "", "URL that lowrank.output.created is posted to")
	flags.BoolVar(&f.attached, "attached", false, "stop when standard input ends (for a program that starts it)")
	_ = flags.MarkHidden("attached")
	return cmd
}

func serve(cmd *cobra.Command, f *serveFlags) error {
	if f.runners < 1 {
		return fmt.Errorf("--runners %d: it must be at least 1", f.runners)
	}
	if err := errors.Join(checkAddress("public-url", f.publicURL, true), checkAddress("events-to", f.eventsTo, false)); err != nil {
		return err
	}
	if err := f.device.Check(); err != nil {
		return err
	}
	dir, err := dataDir(f.data)
	if err != nil {
		return err
	}
	bases, err := parseBases(f.bases, dir)
	if err != nil {
		return err
	}
	prints := bases.prints() // first: what changes from here on is seen later
	catalogue, err := bases.catalogue(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	if f.attached {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	store, err := openData(context.WithoutCancel(ctx), dir, local.Options{EventsTo: f.eventsTo, PublicURL: f.publicURL})
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Lock(); errors.Is(err, infra.ErrInUse) {
		return fmt.Errorf("another lowrank serve is using %s: stop it, or name another folder with --data", dir)
	} else if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", f.addr)
	if err != nil {
		return fmt.Errorf("cannot listen on %s (choose another address with --addr): %w", f.addr, err)
	}
	defer listener.Close()

	debug.SetGCPercent(gcPercent)
	log := infra.CutKeys(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	ports := store.Ports()
	client := openWebhookClient(f.loopback)
	stopping := make(chan struct{})
	handler := newLive(bases, prints, catalogue, func(c *events.Catalogue) http.Handler {
		handler := api.New(api.Config{Ports: ports, Catalogue: c, PublicURL: f.publicURL, Stream: true, Stopping: stopping, Log: log})
		return web.New(web.Config{Ports: ports, Catalogue: c, API: handler, PublicURL: f.publicURL, Log: log})
	})
	server := &http.Server{
		Handler:           bodies.New(route(store, handler), bodies.Patience, stopping),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	scheme := "http"
	if f.selfSigned {
		scheme = "https"
		if server.TLSConfig, err = selfSigned(dir, listener.Addr()); err != nil {
			return err
		}
	}
	if err := welcome(ctx, cmd, registry.Open(ports.Documents), scheme+"://"+reachable(listener.Addr()), dir, f); err != nil {
		return err
	}

	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	var background sync.WaitGroup
	for _, run := range []func(){
		func() { ingest.New(ports, uploadLimit, log).Run(work) },
		func() { notify.New(ports, client, log).Run(work) },
		func() { sweep.New(ports, 0, log).Run(work) },
		func() { tidy(work, store, log) },
		func() { handler.watch(work, log) },
	} {
		background.Go(run)
	}
	runners, err := startRunners(store, dir, f, []string{infra.PredictionQueue, infra.TrainingQueue}, log)
	if err != nil {
		return err
	}

	failed := make(chan error, 1)
	go func() {
		var err error
		if f.selfSigned {
			err = server.ServeTLS(listener, "", "")
		} else {
			err = server.Serve(listener)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
	select {
	case <-ctx.Done():
		err = nil
	case err = <-failed:
	}

	// Held answers first, then the runners hand their jobs back, then what
	// tells the world about it.
	close(stopping)
	patience, hurry := context.WithTimeout(context.Background(), stopPatience)
	defer hurry()
	if shutdownErr := server.Shutdown(patience); shutdownErr != nil {
		server.Close()
	}
	runners.stop(patience)
	stopWork()
	background.Wait()
	return err
}

// route gives presigned PUTs to the store and everything else to the API,
// without the redirects that a mux makes of paths such as //v1.
func route(store *local.Store, handler http.Handler) http.Handler {
	uploads := store.UploadHandler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, local.UploadPath) {
			uploads.ServeHTTP(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// welcome prints where the service is, and on the first start a token.
func welcome(ctx context.Context, cmd *cobra.Command, r *registry.Registry, url, dir string, f *serveFlags) error {
	out := cmd.OutOrStdout()
	if f.publicURL != "" {
		url = f.publicURL
	}
	fmt.Fprintf(out, "lowrank serves %s, data in %s\n", url, dir)
	tokens, err := r.Tokens(ctx)
	if err != nil {
		return err
	}
	if len(tokens) > 0 {
		more := program() + " token create"
		if f.data != "" {
			more += " --data " + quoted(dir)
		}
		_, err := fmt.Fprintf(out, "another token: %s\n", more)
		return err
	}
	token, err := r.CreateToken(ctx, registry.DefaultOwner, time.Now())
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThe first token, shown only now. To use it in a shell:\n\n"+
		"  export REPLICATE_API_TOKEN=%s\n  export REPLICATE_BASE_URL=%s REPLICATE_API_BASE_URL=%s\n", token, url, url)
	if f.selfSigned {
		fmt.Fprintf(out, "  export SSL_CERT_FILE=%[1]s REQUESTS_CA_BUNDLE=%[1]s NODE_EXTRA_CA_CERTS=%[1]s\n", certificatePath(dir))
	}
	fmt.Fprintln(out)
	return nil
}

// reachable turns a listening address into one to connect to.
func reachable(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// tidy cleans the store at the start and every hour.
func tidy(ctx context.Context, store *local.Store, log *slog.Logger) {
	for {
		if err := store.Tidy(ctx); err != nil && ctx.Err() == nil {
			log.Warn("tidy", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Hour):
		}
	}
}
