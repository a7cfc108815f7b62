// Command apiserver serves the API with a runner that draws test pictures, so that the client scripts
// can be run without the engine.
//
//	go run ./scripts/clients/apiserver -addr 127.0.0.1:8010 -data DIR -token r8_mock
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/infra/registry"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "apiserver:", err)
		os.Exit(1)
	}
}

func run() error {
	addr := flag.String("addr", "127.0.0.1:0", "address")
	data := flag.String("data", "", "folder (required)")
	token := flag.String("token", "", "a token of the owner me (required)")
	cert := flag.String("cert", "", "certificate, for TLS")
	key := flag.String("key", "", "its key")
	train := flag.Duration("train", 2500*time.Millisecond, "how long a training lasts")
	draw := flag.Duration("draw", 300*time.Millisecond, "how long a prediction lasts")
	flag.Parse()
	if *data == "" || *token == "" {
		return fmt.Errorf("-data and -token are required")
	}
	s, err := apitest.Start(*data, apitest.Options{Train: *train, Draw: *draw, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Registry.AddToken(context.Background(), *token, registry.DefaultOwner, time.Now()); err != nil {
		return err
	}
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	srv := &http.Server{Handler: s.Handler, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { srv.Close() })
	if *cert != "" {
		fmt.Printf("serving https://%s\n", l.Addr())
		err = srv.ServeTLS(l, *cert, *key)
	} else {
		fmt.Printf("serving http://%s\n", l.Addr())
		err = srv.Serve(l)
	}
	if err == http.ErrServerClosed {
		err = nil
	}
	return err
}
