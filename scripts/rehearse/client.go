package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// client is a user of the API, with nothing but its URL and a token.
type client struct {
	http  *http.Client
	url   string
	token string
}

// prediction is what the API says of a job, as far as it is looked at here.
type prediction struct {
	ID     string          `json:"id"`
	Status string          `json:"status"`
	Error  string          `json:"error"`
	Logs   string          `json:"logs"`
	Output json.RawMessage `json:"output"`
	URLs   struct {
		Get, Cancel, Stream string
	} `json:"urls"`
}

func (p *prediction) ended() bool {
	return p.Status == "succeeded" || p.Status == "failed" || p.Status == "canceled"
}

// outputs are the URLs of what was made, one or several.
func (p *prediction) outputs() []string {
	var many []string
	var one string
	if json.Unmarshal(p.Output, &many) == nil {
		return many
	}
	if json.Unmarshal(p.Output, &one) == nil && one != "" {
		return []string{one}
	}
	return nil
}

// do sends a request and reads its JSON into v. Any status but 2xx is an error.
func (c *client) do(ctx context.Context, method, url string, body, v any, headers ...string) error {
	status, answer, err := c.raw(ctx, method, url, body, headers...)
	if err != nil {
		return err
	}
	if status/100 != 2 {
		return fmt.Errorf("%s %s answered %d: %.500s", method, url, status, answer)
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(answer, v)
}

// raw sends a request whose body is nil, bytes or what is marshalled.
func (c *client) raw(ctx context.Context, method, url string, body any, headers ...string) (status int, answer []byte, err error) {
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		r = bytes.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			return 0, nil, err
		}
		r = bytes.NewReader(encoded)
	}
	if url[0] == '/' {
		url = c.url + url
	}
	req, err := http.NewRequestWithContext(ctx, method, url, r)
	if err != nil {
		return 0, nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// put sends bytes to an upload_url, with no header of its own.
func (c *client) put(ctx context.Context, url string, body []byte) (status int, err error) {
	anonymous := &client{http: c.http}
	status, _, err = anonymous.raw(ctx, http.MethodPut, url, body)
	return status, err
}

// trainByUpload asks for a place and a training on what comes there, and sends the zip.
func (c *client) trainByUpload(ctx context.Context, name string, zip []byte, model string, input map[string]any) (prediction, error) {
	var up struct {
		UploadURL  string      `json:"upload_url"`
		Prediction *prediction `json:"prediction"`
	}
	body := map[string]any{"train": map[string]any{"model": model, "input": input}}
	if err := c.do(ctx, http.MethodPost, "/v1/upload/"+name, body, &up); err != nil {
		return prediction{}, err
	}
	if up.Prediction == nil {
		return prediction{}, fmt.Errorf("the upload made no prediction")
	}
	status, err := c.put(ctx, up.UploadURL, zip)
	if err != nil || status != http.StatusOK {
		return *up.Prediction, fmt.Errorf("PUT of the zip answered %d: %w", status, err)
	}
	return *up.Prediction, nil
}

// wait polls until the job ends, or until seen says enough.
func (c *client) wait(ctx context.Context, id string, seen func(*prediction) bool) (prediction, error) {
	for {
		var p prediction
		if err := c.do(ctx, http.MethodGet, "/v1/predictions/"+id, nil, &p); err != nil {
			return p, err
		}
		if p.ended() || seen != nil && seen(&p) {
			return p, nil
		}
		select {
		case <-ctx.Done():
			return p, fmt.Errorf("job %s is %s: %w", id, p.Status, ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// succeed waits for the job's success and returns the SHA-256 of its outputs.
func (c *client) succeed(ctx context.Context, id string) (p prediction, sums []string, err error) {
	p, files, err := c.files(ctx, id)
	for _, f := range files {
		sum := sha256.Sum256(f)
		sums = append(sums, hex.EncodeToString(sum[:]))
	}
	return p, sums, err
}

// files waits for the job's success and downloads its outputs.
func (c *client) files(ctx context.Context, id string) (p prediction, files [][]byte, err error) {
	if p, err = c.wait(ctx, id, nil); err != nil {
		return p, nil, err
	}
	if p.Status != "succeeded" {
		return p, nil, fmt.Errorf("job %s %s: %s\n%s", id, p.Status, p.Error, tail([]byte(p.Logs), 2000))
	}
	anonymous := &client{http: c.http}
	for _, url := range p.outputs() {
		status, body, err := anonymous.raw(ctx, http.MethodGet, url, nil)
		if err != nil || status != http.StatusOK {
			return p, nil, fmt.Errorf("GET %s answered %d: %w", url, status, err)
		}
		files = append(files, body)
	}
	return p, files, nil
}
