package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	lambdaevents "github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lowrank/lowrank/events"
)

// TestSample gives the sample's event to the function, whose download and bucket
// are servers of this test.
func TestSample(t *testing.T) {
	raw, err := os.ReadFile("../../events/samples/lambda-consumer.json")
	if err != nil {
		t.Fatal(err)
	}
	const picture = "a picture"
	sum := sha256.Sum256([]byte(picture))
	for name, c := range map[string]struct {
		status int
		sha256 string
		want   string // in the error
	}{
		"OK":          {http.StatusOK, hex.EncodeToString(sum[:]), ""},
		"ErrOther":    {http.StatusOK, strings.Repeat("ab", 32), "SHA-256"},
		"ErrDownload": {http.StatusNotFound, hex.EncodeToString(sum[:]), "404"},
	} {
		t.Run(name, func(t *testing.T) {
			kept := map[string]string{}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPut {
					body, err := io.ReadAll(r.Body)
					if err != nil {
						t.Error(err)
					}
					kept[r.URL.Path] = string(body)
					return
				}
				w.WriteHeader(c.status)
				io.WriteString(w, picture)
			}))
			defer server.Close()
			var event lambdaevents.EventBridgeEvent
			var created events.OutputCreated
			if err := json.Unmarshal(raw, &event); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(event.Detail, &created); err != nil {
				t.Fatal(err)
			}
			created.URL, created.SHA256 = server.URL+"/out-0.png", c.sha256
			if event.Detail, err = json.Marshal(created); err != nil {
				t.Fatal(err)
			}
			f := consumer{http: server.Client(), bucket: "copies", s3: s3.New(s3.Options{
				Region: "us-east-1", BaseEndpoint: &server.URL, UsePathStyle: true, Credentials: credentials.NewStaticCredentialsProvider("k", "s", ""),
			})}
			err := f.handle(t.Context(), event)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || len(kept) > 0 {
					t.Errorf("got %v and %v kept, want an error with %q and nothing", err, kept, c.want)
				}
				return
			}
			if err != nil || !strings.Contains(kept["/copies/"+created.ID], picture) {
				t.Errorf("got %v; kept %v", err, kept)
			}
		})
	}
}
