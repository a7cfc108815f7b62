//go:build unix

package servicetest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/events"
)

// The first start prints where the service is and a token to paste; the next one
// prints no token. SIGTERM ends it.
func TestFirstStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := serve(t, dir, "")
	if out := s.out.String(); !strings.Contains(out, "  export REPLICATE_BASE_URL="+s.url) || !strings.Contains(out, "data in "+dir) {
		t.Errorf("printed %q", out)
	}
	var account struct{ Username string }
	s.call("GET", "/v1/account", nil, &account)
	if account.Username == "" {
		t.Error("the printed token opens no account")
	}
	var raw []byte
	good := s.token
	s.token = "r8_wrong"
	if code := s.call("GET", "/v1/account", nil, &raw); code != http.StatusUnauthorized {
		t.Errorf("a wrong token got %d: %s", code, raw)
	}
	s.token = good

	// Tokens are made, listed and revoked while the service runs.
	out, errs, code := run(t, "token", "create", "--data", dir, "--owner", "alice")
	token := strings.TrimSuffix(out, "\n")
	if code != 0 || errs != "" || strings.ContainsAny(token, " \n") || len(token) < 20 {
		t.Fatalf("token create printed %q, %q, ended with %d", out, errs, code)
	}
	s.token = token
	s.call("GET", "/v1/account", nil, &account)
	if account.Username != "alice" {
		t.Errorf("the account is %q, want alice's", account.Username)
	}
	list, _, _ := run(t, "token", "list", "--data", dir)
	if strings.Contains(list, token) || !strings.Contains(list, "alice") {
		t.Errorf("token list printed %q", list)
	}
	if _, errs, code := run(t, "token", "revoke", "--data", dir, token); code != 0 {
		t.Errorf("token revoke: %s", errs)
	}
	if code := s.call("GET", "/v1/account", nil, &raw); code != http.StatusUnauthorized {
		t.Errorf("a revoked token got %d: %s", code, raw)
	}
	s.token = good
	for _, f := range []string{"lowrank.db", "lowrank.db-wal"} {
		if b, err := os.ReadFile(filepath.Join(dir, f)); err == nil && (strings.Contains(string(b), good) || strings.Contains(string(b), token)) {
			t.Errorf("%s holds the text of a token", f)
		}
	}
	s.stop()

	s = serve(t, dir, good)
	if out := s.out.String(); strings.Contains(out, "TOKEN") {
		t.Errorf("the second start printed %q", out)
	}
	s.call("GET", "/v1/account", nil, &account)
	s.stop()
	if log := s.log.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, good) {
		t.Errorf("logged %q", log)
	}
}

func TestRefusedStarts(t *testing.T) {
	t.Run("ErrPortInUse", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, errs, code := run(t, "serve", "--data", t.TempDir(), "--addr", l.Addr().String())
		if text := sentence(t, errs); code != 1 || !strings.Contains(text, l.Addr().String()) || !strings.Contains(text, "--addr") {
			t.Errorf("%d %q", code, text)
		}
	})
	t.Run("ErrSecondServe", func(t *testing.T) {
		s := serve(t, t.TempDir(), "")
		_, errs, code := run(t, "serve", "--data", s.dir, "--addr", "127.0.0.1:0")
		if text := sentence(t, errs); code != 1 || !strings.Contains(text, s.dir) || !strings.Contains(text, "--data") {
			t.Errorf("%d %q", code, text)
		}
		s.call("GET", "/v1/account", nil, &struct{}{})
		s.stop()
	})
	t.Run("ErrNoHome", func(t *testing.T) {
		for _, args := range [][]string{{"serve", "--addr", "127.0.0.1:0"}, {"token", "create"}, {"base", "list"}} {
			cmd := command(t, args...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
			_, errs, code := finish(t, cmd)
			if text := sentence(t, errs); code != 1 || !strings.Contains(text, "--data") {
				t.Errorf("%s: %d %q", args, code, text)
			}
		}
	})
	t.Run("ErrNoFolder", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, errs, code := run(t, "serve", "--data", filepath.Join(file, "data"), "--addr", "127.0.0.1:0")
		if text := sentence(t, errs); code != 1 || !strings.Contains(text, file) {
			t.Errorf("%d %q", code, text)
		}
	})
	for _, c := range []struct{ name, flag, value, want string }{
		{"ErrBaseForm", "--base", "sd15", "NAME=PATH"},
		{"ErrBaseName", "--base", "../x=.", `"../x"`},
		{"ErrBaseMissing", "--base", "sd15=/nowhere/at/all", `"/nowhere/at/all"`},
		{"ErrRunners", "--runners", "0", "--runners 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			_, errs, code := run(t, "serve", "--data", dir, "--addr", "127.0.0.1:0", c.flag, c.value)
			if text := sentence(t, errs); code != 1 || !strings.Contains(text, c.want) {
				t.Errorf("%d %q", code, text)
			}
			if _, err := os.Stat(dir); err == nil {
				t.Error("the refused start made the data folder")
			}
		})
	}
}

// A token may be made before the first start, which then prints none.
func TestTokenFirst(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	out, errs, code := run(t, "token", "create", "--data", dir)
	if code != 0 || errs != "" {
		t.Fatalf("token create: %d %q", code, errs)
	}
	s := serve(t, dir, strings.TrimSpace(out))
	s.call("GET", "/v1/account", nil, &struct{}{})
	if out := s.out.String(); strings.Contains(out, "TOKEN") {
		t.Errorf("printed %q", out)
	}
	s.stop()
}

// With --tls-self-signed a client that trusts the printed certificate is served
// over HTTPS, its URLs are https, and no other client is.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, "", "--tls-self-signed")
	if !strings.HasPrefix(s.url, "https://") {
		t.Fatalf("serves %s", s.url)
	}
	if resp, err := http.Get(s.url + "/v1/account"); err == nil {
		resp.Body.Close()
		t.Error("a client that does not know the certificate was served")
	}
	path := filepath.Join(dir, "tls", "certificate.pem")
	if out := s.out.String(); !strings.Contains(out, "SSL_CERT_FILE="+path) {
		t.Errorf("printed %q", out)
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in the file")
	}
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	var up events.Upload
	s.call("POST", "/v1/upload/a.zip", nil, &up)
	for _, u := range []string{up.UploadURL, up.ServingURL} {
		if !strings.HasPrefix(u, s.url+"/") {
			t.Errorf("made the URL %s", u)
		}
	}
	if code := s.call("PUT", up.UploadURL, []byte("some bytes"), nil); code != http.StatusOK {
		t.Errorf("PUT: %d", code)
	}
	var back []byte
	if code := s.call("GET", up.ServingURL, nil, &back); code != http.StatusOK || string(back) != "some bytes" {
		t.Errorf("GET: %d %q", code, back)
	}
	if info, err := os.Stat(filepath.Join(dir, "tls", "key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info.Mode(), err)
	}
	s.stop()
}

// A base model that is added while the service runs is there within seconds, on
// the runners too, and gone when it is removed.
func TestBaseWhileServing(t *testing.T) {
	needService(t)
	t.Parallel()
	s := serve(t, t.TempDir(), "")
	before := s.file(s.succeeded(s.train(2, 2).ID))
	add := func(path string) {
		if out, errs, code := run(t, "base", "add", "second", path, "--data", s.dir); code != 0 {
			t.Fatalf("base add: %s %s", out, errs)
		}
	}
	ask := func() (events.Prediction, int) {
		var answer []byte
		var p events.Prediction
		code := s.call("POST", "/v1/models/replicate/lora/predictions", map[string]any{"input": map[string]any{
			"prompt": "a cat", "seed": 1, "num_inference_steps": 2, "base": "second"}}, &answer)
		if code == http.StatusCreated {
			if err := json.Unmarshal(answer, &p); err != nil {
				t.Fatal(err)
			}
		}
		return p, code
	}
	there := func(want int) events.Prediction {
		for {
			s.alive()
			if p, code := ask(); code == want {
				return p
			}
			pause()
		}
	}
	draw := func() string { return s.bytes(s.succeeded(there(http.StatusCreated).ID)) }
	if _, code := ask(); code != http.StatusUnprocessableEntity {
		t.Errorf("a base that is not there: %d", code)
	}
	const embedded = "../../gpurunner/base/embedded/model"
	add(embedded)
	first := draw()
	if out, errs, code := run(t, "base", "remove", "second", "--data", s.dir); code != 0 {
		t.Fatalf("base remove: %s %s", out, errs)
	}
	there(http.StatusUnprocessableEntity)
	// Another model of the same name is not taken for the first.
	other := otherBase(t, embedded)
	add(other)
	if second := draw(); second == first {
		t.Error("the base that was removed still draws")
	}
	if after := s.file(s.succeeded(s.train(2, 2).ID)); !bytes.Equal(before, after) {
		t.Error("the embedded base trains otherwise than before")
	}
	s.stop()
}

// otherBase copies a base model's folder, with other weights in its VAE.
func otherBase(t *testing.T, from string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "other")
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "vae", "diffusion_pytorch_model.safetensors")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(data) - 4096; i < len(data)-1; i += 2 {
		data[i] ^= 0x3f // mantissas alone: no weight becomes huge
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	// The card's hashes are those of the first.
	card := filepath.Join(dir, "lowrank.json")
	text, err := os.ReadFile(card)
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	delete(c, "weights")
	if text, err = json.Marshal(c); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(card, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
