package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
)

// Client sends requests as one owner.
type Client struct {
	T     testing.TB
	URL   string
	Token string
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// JSON reads the body into v.
func (a Answer) JSON(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		t.Fatalf("status %d: %v: %.200s", a.Status, err, a.Body)
	}
}

// Problem reads the body as a problem and checks its form.
func (a Answer) Problem(t testing.TB) events.Problem {
	t.Helper()
	var p events.Problem
	a.JSON(t, &p)
	if ct := a.Header.Get("Content-Type"); ct != "application/problem+json" || p.Status != a.Status || p.Title == "" || p.Detail == "" {
		t.Errorf("no problem in the form of the API: %s: %+v", ct, p)
	}
	return p
}

// Do sends a request. path may be an absolute URL; body is nil, []byte, io.Reader, string or what is
// marshalled as JSON. Headers are pairs.
func (c *Client) Do(method, path string, body any, headers ...string) Answer {
	c.T.Helper()
	if strings.HasPrefix(path, "/") {
		path = c.URL + path
	}
	var r io.Reader
	contentType := ""
	switch b := body.(type) {
	case nil:
	case []byte:
		r = bytes.NewReader(b)
	case string:
		r = strings.NewReader(b)
	case io.Reader:
		r = b
	default:
		text, err := events.Marshal(b)
		if err != nil {
			c.T.Fatal(err)
		}
		r, contentType = bytes.NewReader(text), "application/json"
	}
	req, err := http.NewRequestWithContext(context.Background(), method, path, r)
	if err != nil {
		c.T.Fatal(err)
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		c.T.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.T.Fatal(err)
	}
	return Answer{resp.StatusCode, resp.Header, b}
}

// Prediction sends a request whose answer is a prediction with that status.
func (c *Client) Prediction(want int, method, path string, body any, headers ...string) events.Prediction {
	c.T.Helper()
	a := c.Do(method, path, body, headers...)
	if a.Status != want {
		c.T.Fatalf("%s %s: got %d, want %d: %.300s", method, path, a.Status, want, a.Body)
	}
	var p events.Prediction
	a.JSON(c.T, &p)
	return p
}

// Draw makes a prediction of the lora model.
func (c *Client) Draw(input map[string]any, headers ...string) events.Prediction {
	c.T.Helper()
	return c.Prediction(http.StatusCreated, "POST", "/v1/predictions", map[string]any{"version": events.AnnouncedLoraID, "input": input}, headers...)
}

// Wait polls until the prediction has ended.
func (c *Client) Wait(id events.JobID) events.Prediction {
	c.T.Helper()
	for {
		p := c.Prediction(http.StatusOK, "GET", "/v1/predictions/"+string(id), nil)
		if p.Status.Terminal() {
			return p
		}
		if c.T.Context().Err() != nil {
			c.T.Fatal("the test has ended")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Upload asks for a place and, if data is not nil, PUTs it there.
func (c *Client) Upload(name string, body any, data []byte) events.Upload {
	c.T.Helper()
	a := c.Do("POST", "/v1/upload/"+name, body)
	if a.Status != http.StatusOK {
		c.T.Fatalf("upload: %d: %s", a.Status, a.Body)
	}
	var u events.Upload
	a.JSON(c.T, &u)
	if data != nil {
		c.Put(u.UploadURL, data)
	}
	return u
}

// Put sends data to an upload_url.
func (c *Client) Put(url string, data []byte) {
	c.T.Helper()
	anonymous := Client{T: c.T}
	if a := anonymous.Do("PUT", url, data); a.Status != http.StatusOK {
		c.T.Fatalf("PUT: %d: %s", a.Status, a.Body)
	}
}

// File posts a file and returns it.
func (c *Client) File(name string, data []byte) events.File {
	c.T.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, err := w.CreateFormFile("content", name)
	if err != nil {
		c.T.Fatal(err)
	}
	part.Write(data)
	w.Close()
	a := c.Do("POST", "/v1/files", b.Bytes(), "Content-Type", w.FormDataContentType())
	if a.Status != http.StatusCreated {
		c.T.Fatalf("file: %d: %s", a.Status, a.Body)
	}
	var f events.File
	a.JSON(c.T, &f)
	return f
}
