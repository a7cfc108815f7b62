package local

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/bodies"
)

// UploadPath is where the server mounts UploadHandler; presigned URLs begin with it.
const UploadPath = "/_put/"

// maxTTL is S3's limit for a presigned URL.
const maxTTL = 7 * 24 * time.Hour

// PresignPut implements infra.Presigner. The URL's host is the context's public
// URL (infra.WithPublicURL), else Options.PublicURL.
func (b *blobs) PresignPut(ctx context.Context, key string, ttl time.Duration, maxSize int64) (string, error) {
	const op = "presigner.PresignPut"
	if err := infra.CheckKey(key); err != nil {
		return "", err
	}
	if ttl <= 0 || ttl > maxTTL {
		return "", invalid(op, key, "a time to live of %v, it must be above 0 and at most %v", ttl, maxTTL)
	}
	base := infra.PublicURL(ctx)
	if base == "" {
		base = b.options.PublicURL
	}
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil || u.Host == "" {
		return "", invalid(op, key, "no public URL is known to make upload URLs from")
	}
	expires := strconv.FormatInt(b.clock.Now().Add(ttl).Unix(), 10)
	limit := strconv.FormatInt(max(maxSize, 0), 10)
	segments := strings.Split(key, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	query := url.Values{"expires": {expires}, "max": {limit}, "signature": {b.sign(key, expires, limit)}}
	return u.String() + UploadPath + strings.Join(segments, "/") + "?" + query.Encode(), nil
}

// sign is the MAC over everything a URL allows.
func (b *blobs) sign(key, expires, limit string) string {
	mac := hmac.New(sha256.New, b.key)
	fmt.Fprintf(mac, "PUT\n%s\n%s\n%s", expires, limit, key)
	return hex.EncodeToString(mac.Sum(nil))
}

// UploadHandler answers presigned PUTs under UploadPath, from programs and, with
// CORS, from browsers. 200 once the object is durable and its notification
// queued; 403 for a URL that does not allow it, 413 over its size, 507 when the
// disk is full.
func (s *Store) UploadHandler() http.Handler {
	b := (*blobs)(s)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Expose-Headers", "ETag")
		if r.Method == http.MethodOptions {
			w.Header().Set("Access-Control-Allow-Methods", "PUT")
			w.Header().Set("Access-Control-Allow-Headers", "*")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		key, limit, err := b.allowed(r)
		if err != nil {
			problem(w, r, http.StatusForbidden, "Forbidden", err.Error())
			return
		}
		if limit > 0 && r.ContentLength > limit {
			problem(w, r, http.StatusRequestEntityTooLarge, "Upload too large", fmt.Sprintf("%d bytes, this upload may have %d", r.ContentLength, limit))
			return
		}
		info, err := b.Put(r.Context(), key, r.Body, infra.PutOptions{ContentType: contentType(r), MaxSize: limit})
		switch {
		case err == nil:
			w.Header().Set("ETag", `"`+info.ETag+`"`)
			w.WriteHeader(http.StatusOK)
		case errors.Is(err, infra.ErrTooLarge):
			problem(w, r, http.StatusRequestEntityTooLarge, "Upload too large", fmt.Sprintf("this upload may have %d bytes", limit))
		case errors.Is(err, infra.ErrFull):
			problem(w, r, http.StatusInsufficientStorage, "Disk full", "the server's disk is full; nothing was stored")
		case errors.Is(err, bodies.ErrStalled):
			problem(w, r, http.StatusRequestTimeout, "Request Timeout", "the upload stopped arriving before its end; send it again")
		default:
			problem(w, r, http.StatusServiceUnavailable, "Upload failed", "the upload could not be stored; send it again")
		}
	})
}

// contentType is what the client said, if it can be stored: S3 limits nothing
// else here, and a file's kind is judged by its bytes.
func contentType(r *http.Request) string {
	ct := r.Header.Get("Content-Type")
	if len(ct) > 200 {
		return ""
	}
	return ct
}

// allowed returns the key and size limit that r's URL allows it to put.
func (b *blobs) allowed(r *http.Request) (key string, limit int64, err error) {
	key = strings.TrimPrefix(r.URL.Path, UploadPath)
	q := r.URL.Query()
	expires, max := q.Get("expires"), q.Get("max")
	if r.Method != http.MethodPut || !hmac.Equal([]byte(q.Get("signature")), []byte(b.sign(key, expires, max))) {
		return "", 0, errors.New("the signature does not match this URL and method; use the upload URL exactly as given, with PUT")
	}
	// Both were signed, so both parse.
	until, _ := strconv.ParseInt(expires, 10, 64)
	if !b.clock.Now().Before(time.Unix(until, 0)) {
		return "", 0, errors.New("the upload URL has expired; ask for a new one")
	}
	limit, _ = strconv.ParseInt(max, 10, 64)
	return key, limit, nil
}

// problem answers r, whose body was not read to its end, in the API's error form.
func problem(w http.ResponseWriter, r *http.Request, status int, title, detail string) {
	body, _ := json.Marshal(map[string]any{"title": title, "detail": detail, "status": status}) // always marshals
	w.Header().Set("Content-Type", "application/problem+json")
	bodies.Refuse(w, r, status, body)
}
