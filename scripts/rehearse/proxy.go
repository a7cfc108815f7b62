package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
	"unicode/utf8"
)

// The limits of HTTP API and Lambda that the emulator does not have.
const (
	apiBody       = 10 << 20         // bytes of a request to API Gateway
	lambdaPayload = 6 << 20          // bytes to or from a function, as JSON, so base64 counts
	apiPatience   = 30 * time.Second // for a function's answer
)

// front is a proxy before the emulator that plays one host name of AWS.
type front struct {
	URL    string
	server *http.Server
}

// newFront serves handler over the rehearsal's TLS on a free port.
func newFront(a *authority, handler http.Handler) (*front, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, err
	}
	quiet := log.New(io.Discard, "", 0) // of clients that come to see whether there is a server
	f := &front{URL: "https://localhost:" + port, server: &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: quiet}}
	go func() {
		_ = f.server.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{a.server}})) // ends with close
	}()
	return f, nil
}

func (f *front) close() { f.server.Close() }

// forward sends requests to the emulator under another host's name.
func forward(a *authority, emulatorURL string, host func() string) (*httputil.ReverseProxy, error) {
	target, err := url.Parse(emulatorURL)
	if err != nil {
		return nil, err
	}
	return &httputil.ReverseProxy{
		Transport: a.client().Transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = host()
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if errors.Is(err, context.DeadlineExceeded) {
				message(w, http.StatusServiceUnavailable, "Service Unavailable")
				return
			}
			message(w, http.StatusBadGateway, "Bad Gateway")
		},
	}, nil
}

// limited is API Gateway's part: sizes, patience, and answers that come whole.
func limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > apiBody {
			message(w, http.StatusRequestEntityTooLarge, "Request Entity Too Large")
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, apiBody))
		if err != nil || payload(body) > lambdaPayload {
			message(w, http.StatusRequestEntityTooLarge, "Request Entity Too Large")
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), apiPatience)
		defer cancel()
		r = r.WithContext(ctx)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		kept := &whole{header: http.Header{}}
		next.ServeHTTP(kept, r)
		if payload(kept.body.Bytes()) > lambdaPayload {
			message(w, http.StatusInternalServerError, "Internal Server Error")
			return
		}
		kept.send(w)
	})
}

// missing answers 404 instead of 403 for what exists says is not there: the bucket's
// policy lets the content network list, and so S3 tells it, but the emulator's
// network takes every refusal for one.
func missing(next http.Handler, exists func(ctx context.Context, path string) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kept := &whole{header: http.Header{}}
		next.ServeHTTP(kept, r)
		if kept.status == http.StatusForbidden && (r.Method == http.MethodGet || r.Method == http.MethodHead) && !exists(r.Context(), r.URL.Path) {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		kept.send(w)
	})
}

// payload is what a body takes in a function's event.
func payload(body []byte) int {
	if utf8.Valid(body) {
		return len(body)
	}
	return (len(body) + 2) / 3 * 4
}

func message(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"message":"`+text+`"}`)
}

// whole keeps an answer until it is complete.
type whole struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *whole) send(to http.ResponseWriter) {
	for name, values := range w.header {
		to.Header()[name] = values
	}
	to.WriteHeader(w.status)
	_, _ = to.Write(w.body.Bytes()) // a client that has gone is no one's error
}

func (w *whole) Header() http.Header { return w.header }

func (w *whole) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

func (w *whole) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}
