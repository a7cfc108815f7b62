package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra/bodies"
)

const (
	// smallBody is how many bytes of a body are held without a place. Most bodies have fewer.
	smallBody = 1 << 20
	// largeBodies is how many larger ones are held at once, largeOfOwner how many of them are one owner's.
	largeBodies, largeOfOwner = 8, 4
	// placePatience is how long a body waits for its place: less than clients wait for theirs to be read.
	placePatience = 25 * time.Second
	// placeTime is how long a body may keep its place while it arrives: 32 MB come in it over 1 Mbit/s.
	placeTime = 5 * time.Minute
)

// object reads the JSON body.
func (s *server) object(c *call) (map[string]any, error) {
	body, err := s.body(c, s.Limits.JSON)
	if err != nil {
		return nil, err
	}
	o, err := events.ParseObject(body)
	if err != nil {
		return nil, badRequest(sentence(err.Error()))
	}
	return o, nil
}

// body reads at most limit bytes. Large ones are read a few at a time, since they would fill the memory first: one that turns
// out to be large takes a place when it does, and one that only says so or has no length takes none.
func (s *server) body(c *call, limit int64) ([]byte, error) {
	if c.ContentLength > limit {
		return nil, bodyTooLarge(limit)
	}
	if err := checkEncoding(c); err != nil {
		return nil, err
	}
	r := http.MaxBytesReader(c.ResponseWriter, c.Body, limit)
	var b bytes.Buffer
	_, err := io.CopyN(&b, r, smallBody)
	if err == nil {
		free, refused := s.largePlace(c)
		if refused != nil {
			return nil, refused
		}
		defer free()
		_, err = io.Copy(&b, &until{r, time.Now().Add(placeTime)})
	} else if err == io.EOF {
		err = nil
	}
	if err != nil {
		return nil, bodyError(err, limit)
	}
	if bytes.HasPrefix(b.Bytes(), []byte("\x1f\x8b")) { // gzip's, and neither JSON's nor text's
		return nil, compressed()
	}
	return b.Bytes(), nil
}

// checkEncoding refuses bodies that say they are compressed: a few bytes could become any number.
func checkEncoding(c *call) error {
	if e := c.Request.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return compressed()
	}
	return nil
}

func compressed() *problem {
	return &problem{status: http.StatusUnsupportedMediaType, title: "Unsupported Media Type", detail: "The request body is compressed; send it uncompressed."}
}

func bodyTooLarge(limit int64) *problem {
	return tooLarge("Request bodies must be less than " + megabytes(limit) + " in size; use POST /v1/upload for larger files")
}

// bodyError is what a client is told whose body could not be read.
func bodyError(err error, limit int64) error {
	var max *http.MaxBytesError
	switch {
	case errors.As(err, &max):
		return bodyTooLarge(limit)
	case errors.Is(err, bodies.ErrStalled), errors.Is(err, errSlow):
		return err // see asProblem
	}
	return badRequest("The request body could not be read to its end.")
}

// errSlow is the end of a body that kept its place for too long.
var errSlow = errors.New("the request body takes too long")

// until reads r up to a time. It does not end a Read that waits; package bodies does.
type until struct {
	r  io.Reader
	at time.Time
}

// Read implements io.Reader.
func (u *until) Read(p []byte) (int, error) {
	if time.Now().After(u.at) {
		return 0, errSlow
	}
	return u.r.Read(p)
}

// largePlace waits for a place for a large body. free gives it back.
func (s *server) largePlace(c *call) (free func(), err error) {
	ctx, cancel := context.WithTimeout(c.Context(), placePatience)
	defer cancel()
	leave, err := s.bigOwn.take(ctx, c.owner) // first: who waits for their own holds none of all
	if err == nil {
		select {
		case s.big <- struct{}{}:
			return func() { <-s.big; leave() }, nil
		case <-ctx.Done():
			leave()
		}
	}
	if err := c.Context().Err(); err != nil {
		return nil, err
	}
	return nil, &problem{status: http.StatusServiceUnavailable, title: "Service Unavailable", retryAfter: 1, close: true,
		detail: "The server is busy with other large request bodies. Try again, or use POST /v1/upload for large files."}
}
