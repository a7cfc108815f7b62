// Command apiserver serves the API with a runner that draws test pictures, so that the client scripts
// can be run without the engine.
//
//	go run ./scripts/clients/apiserver -addr 127.0.0.1:8010 -data DIR -token r8_mock
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"flag"
	"fmt"
	"log/slog"
	"math/big"
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
	selfSigned := flag.Bool("tls-self-signed", false, "serve https with a certificate made now")
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
	if *selfSigned {
		if srv.TLSConfig, err = selfSignedConfig(); err != nil {
			return err
		}
		fmt.Printf("serving https://%s\n", l.Addr())
		err = srv.ServeTLS(l, "", "")
	} else {
		fmt.Printf("serving http://%s\n", l.Addr())
		err = srv.Serve(l)
	}
	if err == http.ErrServerClosed {
		err = nil
	}
	return err
}

// selfSignedConfig makes a certificate for this machine, good for a day.
func selfSignedConfig() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "apiserver"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, nil
}
