package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// client speaks the HTTP API.
type client struct {
	url, token string
}

// prediction is what the demo reads of one.
type prediction struct {
	ID     string          `json:"id"`
	Status string          `json:"status"`
	Error  *string         `json:"error"`
	Logs   string          `json:"logs"`
	Output json.RawMessage `json:"output"`
	URLs   struct {
		Get    string `json:"get"`
		Cancel string `json:"cancel"`
	} `json:"urls"`
}

func (p *prediction) done() bool {
	return p.Status == "succeeded" || p.Status == "failed" || p.Status == "canceled"
}

// outputs are the URLs of a prediction's results.
func (p *prediction) outputs() ([]string, error) {
	var one string
	if err := json.Unmarshal(p.Output, &one); err == nil {
		return []string{one}, nil
	}
	var many []string
	if err := json.Unmarshal(p.Output, &many); err != nil {
		return nil, fmt.Errorf("prediction %s has the output %s", p.ID, p.Output)
	}
	return many, nil
}

// call sends a JSON request and reads a JSON answer.
func (c *client) call(ctx context.Context, method, path string, body, answer any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(b)
	}
	if !strings.HasPrefix(path, "http") {
		path = c.url + path
	}
	req, err := http.NewRequestWithContext(ctx, method, path, r)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s", method, req.URL.Path, refusal(resp.Status, text))
	}
	return json.Unmarshal(text, answer)
}

// refusal is what the service says of a request that it does not take.
func refusal(status string, body []byte) string {
	var problem struct {
		Detail string `json:"detail"`
	}
	if err := json.Unmarshal(body, &problem); err == nil && problem.Detail != "" {
		return problem.Detail
	}
	return status + ": " + string(body)
}

// train uploads a zip and has it trained: one request for the upload with the
// training in it, one PUT.
func (c *client) train(ctx context.Context, name string, zip []byte, input map[string]any) (*prediction, error) {
	var up struct {
		UploadURL  string     `json:"upload_url"`
		Prediction prediction `json:"prediction"`
	}
	ask := map[string]any{"train": map[string]any{"model": "replicate/lora-training", "input": input}}
	if err := c.call(ctx, "POST", "/v1/upload/"+name, ask, &up); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, "PUT", up.UploadURL, bytes.NewReader(zip))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return nil, fmt.Errorf("upload of %s: %s", name, refusal(resp.Status, text))
	}
	return &up.Prediction, nil
}

// draw asks for a picture.
func (c *client) draw(ctx context.Context, input map[string]any) (*prediction, error) {
	var p prediction
	err := c.call(ctx, "POST", "/v1/models/replicate/lora/predictions", map[string]any{"input": input}, &p)
	return &p, err
}

// wait polls a prediction to its end, showing each state to see.
func (c *client) wait(ctx context.Context, p *prediction, see func(*prediction)) (*prediction, error) {
	for {
		var now prediction
		if err := c.call(ctx, "GET", p.URLs.Get, nil, &now); err != nil {
			return nil, err
		}
		see(&now)
		if now.done() {
			if now.Status != "succeeded" {
				reason := "no reason given"
				if now.Error != nil {
					reason = *now.Error
				}
				return nil, fmt.Errorf("prediction %s %s: %s", now.ID, now.Status, reason)
			}
			return &now, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// fetch downloads a result.
func (c *client) fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("download of %s: %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
