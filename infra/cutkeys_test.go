package infra

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

func TestCutKeys(t *testing.T) {
	const token = "2tksabcdefghijklmnopqrstuvQ-secret_secret_secret_secret_se"
	const secret = "Q-secret_secret_secret_secret_se"
	upload := "uploads/" + token + `/My "holiday" in Köln.zip`
	unavailable := func(key string, cause error) error {
		return &Error{Op: "blobs.Put", Kind: ErrUnavailable, Key: key, Err: cause}
	}
	for name, tt := range map[string]struct {
		log  func(*slog.Logger)
		keep string
	}{
		"Error": {func(l *slog.Logger) { l.Error("m", "error", unavailable(upload, nil)) }, `blobs.Put \"uploads/2tksab…\": not available now`},
		"Wrapped": {func(l *slog.Logger) {
			l.Error("m", "err", fmt.Errorf("more: %w", unavailable(upload, errors.New("why"))))
		}, "why"},
		"Flat": {func(l *slog.Logger) {
			l.Error("m", "err", fmt.Errorf("more: %v", unavailable("uploads/"+token+"/holiday.zip", nil)))
		}, "not available now"},
		"Joined": {func(l *slog.Logger) { l.Error("m", "err", errors.Join(errors.New("one"), unavailable(upload, nil))) }, "one"},
		"Deep": {func(l *slog.Logger) {
			l.Error("m", "err", unavailable("k", fmt.Errorf("x: %w", unavailable(upload, nil))))
		}, `\"k\"`},
		"Document": {func(l *slog.Logger) { l.Error("m", "err", unavailable(token, nil)) }, "2tksab…"},
		"Output":   {func(l *slog.Logger) { l.Error("m", "err", unavailable("outputs/pbxt/"+secret+"/holiday.png", nil)) }, "outputs/pbxt…"},
		"Unquoted": {func(l *slog.Logger) {
			l.Error("m", "err", unavailable(upload, fmt.Errorf("the key %s is bad", upload)))
		}, "is bad"},
		"URL": {func(l *slog.Logger) {
			l.Error("m", "err", fmt.Errorf("x: %w", &url.Error{Op: "Put", URL: "https://bucket.s3/" + upload + "?X-Amz-Signature=" + secret, Err: errors.New("refused")}))
		}, "https://bucket.s3/…"},
		"Text": {func(l *slog.Logger) {
			l.Warn("m", "key", "uploads/"+token+"/holiday.zip", "url", "http://x/pbxt/"+secret+"/holiday.png")
		}, "http://x/pbxt/…"},
		"With":   {func(l *slog.Logger) { l.With("err", unavailable(upload, nil)).Warn("m") }, "uploads/2tksab…"},
		"Group":  {func(l *slog.Logger) { l.WithGroup("g").Warn("m", slog.Group("h", "err", unavailable(upload, nil))) }, "g.h.err="},
		"Job":    {func(l *slog.Logger) { l.Warn("m", "err", unavailable("abcdefghijklmnopqrstuvwxyz", nil)) }, "abcdefghijklmnopqrstuvwxyz"},
		"Folder": {func(l *slog.Logger) { l.Warn("m", "err", unavailable("/srv/lowrank/data", nil)) }, "/srv/lowrank/data"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			log := CutKeys(slog.New(slog.NewTextHandler(&b, nil)))
			if CutKeys(log) != log {
				t.Error("it cuts twice")
			}
			tt.log(log)
			got := b.String()
			if !strings.Contains(got, tt.keep) {
				t.Errorf("%s lacks %s", got, tt.keep)
			}
			for _, never := range []string{"secret", "holiday", "Köln", "rstuvQ"} {
				if strings.Contains(got, never) {
					t.Errorf("%s has %s", got, never)
				}
			}
		})
	}
}
