package gateway

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	lambdaevents "github.com/aws/aws-lambda-go/events"

	"github.com/lowrank/lowrank/events"
)

const (
	// maxAnswer is what a body may have, in bytes, of Lambda's 6 MB: the rest is for
	// headers and for the escapes of JSON in JSON.
	maxAnswer = 4 << 20
	// compressFrom is the size from which an answer is compressed for those who take it.
	compressFrom = 64 << 10
)

// HTTP answers API Gateway's HTTP API (payload format 2.0) with h.
func HTTP(h http.Handler) func(context.Context, lambdaevents.APIGatewayV2HTTPRequest) (lambdaevents.APIGatewayV2HTTPResponse, error) {
	return func(ctx context.Context, event lambdaevents.APIGatewayV2HTTPRequest) (lambdaevents.APIGatewayV2HTTPResponse, error) {
		req, err := request(ctx, event)
		if err != nil {
			return answer(problem(http.StatusBadRequest, "Bad request", "The request could not be read."), ""), nil
		}
		w := &writer{header: http.Header{}}
		if dots(req.URL.Path) { // clients resolve them; in what is left over they were encoded, and are no names
			w = problem(http.StatusNotFound, "Not found", "There is nothing at this path.")
		} else {
			h.ServeHTTP(w, req)
		}
		return answer(w, req.Header.Get("Accept-Encoding")), nil
	}
}

// request makes the request that the client sent.
func request(ctx context.Context, event lambdaevents.APIGatewayV2HTTPRequest) (*http.Request, error) {
	body := []byte(event.Body)
	if event.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(event.Body); err != nil {
			return nil, err
		}
	}
	u := &url.URL{Path: path(event.RawPath), RawQuery: event.RawQueryString}
	req, err := http.NewRequestWithContext(ctx, event.RequestContext.HTTP.Method, "/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.URL, req.RequestURI = u, u.RequestURI()
	req.Host = event.RequestContext.DomainName
	req.RemoteAddr = event.RequestContext.HTTP.SourceIP + ":0"
	req.Header = http.Header{}
	for name, value := range event.Headers { // several of one name are joined by commas
		req.Header.Set(name, value)
	}
	if len(event.Cookies) > 0 {
		req.Header.Set("Cookie", strings.Join(event.Cookies, "; "))
	}
	// What API Gateway does not set, a client may have made up.
	req.Header.Del("X-Forwarded-Host")
	req.Header.Del("Content-Length")
	return req, nil
}

// path decodes the path as far as API Gateway did not: it is said to be raw, but an
// HTTP API decodes every escape but %25. Whatever holds what no encoded path can
// hold was decoded so.
func path(raw string) string {
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>\^{|}`+"`", c) >= 0 {
			return strings.ReplaceAll(raw, "%25", "%")
		}
	}
	if decoded, err := url.PathUnescape(raw); err == nil {
		return decoded
	}
	return raw
}

// dots reports whether a path has a segment . or ..
func dots(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// writer keeps an answer.
type writer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *writer) Header() http.Header { return w.header }

func (w *writer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		w.header = maps.Clone(w.header) // later changes are not sent
	}
}

func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		if w.header.Get("Content-Type") == "" {
			w.header.Set("Content-Type", http.DetectContentType(p))
		}
		w.WriteHeader(http.StatusOK)
	}
	return w.body.Write(p)
}

func problem(status int, title, detail string) *writer {
	w := &writer{header: http.Header{"Content-Type": {"application/problem+json"}}}
	body, err := events.Marshal(events.Problem{Title: title, Detail: detail, Status: status})
	w.WriteHeader(status)
	if err == nil { // text and a number always marshal
		w.body.Write(body)
	}
	return w
}

// answer turns what was written into Lambda's answer.
func answer(w *writer, accept string) lambdaevents.APIGatewayV2HTTPResponse {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	body := w.body.Bytes()
	compressed := false
	if len(body) > compressFrom && takesGzip(accept) && w.header.Get("Content-Encoding") == "" {
		body, compressed = compress(body), true
	}
	if len(body) > maxAnswer {
		return answer(problem(http.StatusInternalServerError, "Answer too large",
			"The answer has more bytes than this deployment can send; ask with Accept-Encoding: gzip, or for less."), "")
	}
	out := lambdaevents.APIGatewayV2HTTPResponse{StatusCode: w.status, Headers: map[string]string{}}
	for name, values := range w.header {
		if name == "Set-Cookie" {
			out.Cookies = values
			continue
		}
		out.Headers[name] = strings.Join(values, ", ")
	}
	if compressed {
		out.Headers["Content-Encoding"] = "gzip"
		out.Headers["Vary"] = strings.TrimPrefix(out.Headers["Vary"]+", Accept-Encoding", ", ")
		delete(out.Headers, "Content-Length")
	}
	if compressed || !utf8.Valid(body) {
		out.Body, out.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
	} else {
		out.Body = string(body)
	}
	return out
}

func takesGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		name, quality, _ := strings.Cut(strings.TrimSpace(part), ";")
		if (name == "gzip" || name == "*") && strings.TrimSpace(quality) != "q=0" {
			return true
		}
	}
	return false
}

func compress(body []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.Copy(z, bytes.NewReader(body)) // a buffer takes all
	_ = z.Close()
	return b.Bytes()
}
