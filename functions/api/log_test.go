package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/infra"
)

// brokenPresigner and brokenBlobs fail as an adapter does: with the key in the error.
type brokenPresigner struct{ keys *[]string }

func (p brokenPresigner) PresignPut(ctx context.Context, key string, ttl time.Duration, maxSize int64) (string, error) {
	*p.keys = append(*p.keys, key)
	return "", fmt.Errorf("api: %w", &infra.Error{Op: "presigner.PresignPut", Kind: infra.ErrInvalid, Key: key, Err: errors.New("no public URL")})
}

type brokenBlobs struct {
	infra.Blobs
	keys *[]string
}

func (b brokenBlobs) Put(ctx context.Context, key string, body io.Reader, o infra.PutOptions) (infra.BlobInfo, error) {
	*b.keys = append(*b.keys, key)
	return infra.BlobInfo{}, &infra.Error{Op: "blobs.Put", Kind: infra.ErrUnavailable, Key: key}
}

// TestLogsNoSecrets holds the log of failures to neither the secrets in keys nor users' file names nor prompts.
func TestLogsNoSecrets(t *testing.T) {
	var log bytes.Buffer
	var keys []string
	_, c := service(t, apitest.Options{Idle: true, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), Wrap: func(p infra.Ports) infra.Ports {
		p.Presigner, p.Blobs = brokenPresigner{&keys}, brokenBlobs{p.Blobs, &keys}
		return p
	}})
	if a := c.Do("POST", "/v1/upload/holiday.zip", nil); a.Status != 500 {
		t.Errorf("an upload: %d %s", a.Status, a.Body)
	}
	data := "data:image/png;base64," + strings.Repeat("AAAA", 1<<18)
	if a := c.Do("POST", "/v1/predictions", m{"version": events.AnnouncedLoraID, "input": m{"prompt": "holiday", "image": data}}); a.Status != 503 {
		t.Errorf("a prediction: %d %s", a.Status, a.Body)
	}
	body := "--b\r\nContent-Disposition: form-data; name=\"content\"; filename=\"holiday.zip\"\r\n\r\nPK\r\n--b--\r\n"
	if a := c.Do("POST", "/v1/files", body, "Content-Type", "multipart/form-data; boundary=b"); a.Status != 503 {
		t.Errorf("a file: %d %s", a.Status, a.Body)
	}
	text := log.String()
	if len(keys) != 3 || strings.Count(text, "a request failed") != 3 {
		t.Fatalf("%d keys; the log is\n%s", len(keys), text)
	}
	for _, key := range keys {
		id := strings.Split(key, "/")[1]
		if strings.Contains(text, id[10:]) || !strings.Contains(text, id[:6]) {
			t.Errorf("of the key %s the log has too much or too little:\n%s", key, text)
		}
	}
	if strings.Contains(text, "holiday") || strings.Contains(text, c.Token) {
		t.Errorf("the log has a name, a prompt or a token:\n%s", text)
	}
}
