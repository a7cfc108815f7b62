package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestLimited holds the proxy to the limits of HTTP API and Lambda.
func TestLimited(t *testing.T) {
	text := func(n int) []byte { return bytes.Repeat([]byte("x"), n) }
	binary := func(n int) []byte { return bytes.Repeat([]byte{0xff}, n) }
	for _, tt := range []struct {
		name           string
		sends, answers []byte
		want           int
	}{
		{"OK", text(5 << 20), text(5 << 20), http.StatusOK},
		{"ErrRequestAboveGateway", text(10<<20 + 1), nil, http.StatusRequestEntityTooLarge},
		{"ErrRequestAbovePayload", text(6<<20 + 1), nil, http.StatusRequestEntityTooLarge},
		{"ErrRequestInBase64", binary(5 << 20), nil, http.StatusRequestEntityTooLarge},
		{"ErrAnswerAbovePayload", nil, text(6<<20 + 1), http.StatusInternalServerError},
		{"ErrAnswerInBase64", nil, binary(5 << 20), http.StatusInternalServerError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := limited(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(got, tt.sends) {
					t.Errorf("%d bytes came of %d: %v", len(got), len(tt.sends), err)
				}
				if end, ok := r.Context().Deadline(); !ok || time.Until(end) > 30*time.Second || time.Until(end) < 25*time.Second {
					t.Errorf("a function has until %v, want 30 s", end)
				}
				_, _ = w.Write(tt.answers)
			}))
			for _, known := range []bool{true, false} {
				r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(tt.sends))
				if !known {
					r.ContentLength = -1
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != tt.want {
					t.Errorf("length known %v: got %d, want %d", known, w.Code, tt.want)
				}
			}
		})
	}
}

// TestForward: a function that takes longer than the gateway waits is 503, as on AWS.
func TestForward(t *testing.T) {
	a, err := newAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	slow, err := newFront(a, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.close()
	p, err := forward(a, slow.URL, func() string { return "localhost" })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("got %d, want 503", w.Code)
	}
}
