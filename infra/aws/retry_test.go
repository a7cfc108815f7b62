package aws_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/lowrank/lowrank/infra"

	lowrankaws "github.com/lowrank/lowrank/infra/aws"
)

// TestRetries lets a service refuse some calls before it answers: what may pass is
// tried again, what cannot is not.
func TestRetries(t *testing.T) {
	const throttled = `{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"Rate exceeded"}`
	const missing = `{"__type":"com.amazonaws.dynamodb.v20120810#ValidationException","message":"bad key"}`
	const slow = `<Error><Code>SlowDown</Code></Error>`
	get := func(p infra.Ports) error { _, err := p.Documents.Get(t.Context(), "c", "k"); return err }
	put := func(p infra.Ports) error {
		_, err := p.Blobs.Put(t.Context(), "a", strings.NewReader("body"), infra.PutOptions{})
		return err
	}
	for name, c := range map[string]struct {
		refusals int
		status   int
		refusal  string
		call     func(infra.Ports) error
		want     infra.Kind
		calls    int
	}{
		"Throttled":       {2, 400, throttled, get, infra.ErrNotFound, 3}, // then it answers that there is none
		"ErrStillAfter":   {99, 400, throttled, get, infra.ErrUnavailable, 4},
		"ServerError":     {2, 500, `{}`, get, infra.ErrNotFound, 3},
		"SlowDown":        {2, 503, slow, put, "", 3},
		"ErrNotRetryable": {99, 400, missing, get, infra.ErrInvalid, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil || r.Method == http.MethodPut && !strings.Contains(string(body), "body") {
					t.Errorf("try %d came with the body %q: %v", calls.Load(), body, err)
				}
				if int(calls.Add(1)) <= c.refusals {
					w.WriteHeader(c.status)
					fmt.Fprint(w, c.refusal)
					return
				}
				fmt.Fprint(w, "{}")
			}))
			defer server.Close()
			sdk := aws.Config{
				Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("k", "s", ""),
				Retryer: func() aws.Retryer {
					return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 4, time.Millisecond })
				},
			}
			err := c.call(lowrankaws.New(sdk, lowrankaws.Config{Bucket: "b", Table: "t", PathStyle: true}).Ports())
			if infra.KindOf(err) != c.want || int(calls.Load()) != c.calls {
				t.Errorf("got %v after %d calls, want %q after %d", err, calls.Load(), c.want, c.calls)
			}
			var mine *infra.Error
			if err != nil && !errors.As(err, &mine) {
				t.Errorf("%v is not one of this project's errors", err)
			}
		})
	}
}

// TestDeadConnection: an answer that does not come is asked for again.
func TestDeadConnection(t *testing.T) {
	var calls atomic.Int32
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			<-ended
			return
		}
		fmt.Fprint(w, "{}")
	}))
	defer server.Close()
	defer close(ended)
	t.Setenv("AWS_REGION", "us-east-1")
	sdk, err := lowrankaws.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sdk.BaseEndpoint, sdk.Credentials = &server.URL, credentials.NewStaticCredentialsProvider("k", "s", "")
	_, err = lowrankaws.New(sdk, lowrankaws.Config{Table: "t"}).Ports().Documents.Get(t.Context(), "c", "k")
	if !errors.Is(err, infra.ErrNotFound) || calls.Load() != 2 {
		t.Errorf("got %v after %d calls, want not found after 2", err, calls.Load())
	}
}
