package web

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/registry"
)

// How long one stays signed in.
const (
	sessionIdle = 12 * time.Hour     // without a visit
	sessionMax  = 7 * 24 * time.Hour // in all
	sessionNote = 10 * time.Minute   // visits closer together are not noted
)

// sessions keeps who has signed in. The browser holds a random secret; the store holds, under the secret's
// hash, the API token sealed with a key made from the secret. Neither alone is worth anything, and removing
// the document signs out for good.
type sessions struct {
	docs  infra.Documents
	reg   *registry.Registry
	clock infra.Clock
	// secure reports whether a request came by TLS.
	secure func(*http.Request) bool
}

// session is a visitor who has signed in.
type session struct {
	secret []byte
	token  string // for the API
	owner  events.Owner
}

// sessionRecord is what is stored of a session.
type sessionRecord struct {
	Sealed    []byte      `json:"sealed"`
	CreatedAt events.Time `json:"created_at"`
	SeenAt    events.Time `json:"seen_at"`
}

const sessionCollection = "web-sessions"

func (r sessionRecord) over(now time.Time) bool {
	return now.Sub(r.SeenAt.Time) > sessionIdle || now.Sub(r.CreatedAt.Time) > sessionMax
}

// derive makes a key of the secret for one use.
func derive(secret []byte, use string) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, "lowrank web "+use, 32)
	if err != nil {
		panic(err) // 32 bytes are never too many
	}
	return key
}

func sealer(secret []byte) cipher.AEAD {
	block, err := aes.NewCipher(derive(secret, "token"))
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func sessionKey(secret []byte) string {
	h := sha256.Sum256(secret)
	return hex.EncodeToString(h[:])
}

// begin signs in with a token: infra.ErrNotFound when it is no one's.
func (s *sessions) begin(ctx context.Context, token string) (*session, error) {
	owner, err := s.reg.TokenOwner(ctx, token)
	if err != nil {
		return nil, err
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	now := events.At(s.clock.Now())
	if err := s.put(ctx, secret, 0, sessionRecord{sealer(secret).Seal(nil, nil, []byte(token), nil), now, now}); err != nil {
		return nil, err
	}
	s.forgetOld(ctx)
	return &session{secret, token, owner}, nil
}

func (s *sessions) put(ctx context.Context, secret []byte, version int64, r sessionRecord) error {
	value, err := events.Marshal(r)
	if err != nil {
		return err
	}
	_, err = s.docs.Put(ctx, infra.Document{Collection: sessionCollection, Key: sessionKey(secret), Version: version, Value: value})
	return err
}

// find returns the request's session, nil when it has none that still counts.
func (s *sessions) find(r *http.Request) (*session, error) {
	c, err := r.Cookie(cookieName(s.secure(r)))
	if err != nil {
		return nil, nil
	}
	secret, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || len(secret) != 32 {
		return nil, nil
	}
	ctx := r.Context()
	d, err := s.docs.Get(ctx, sessionCollection, sessionKey(secret))
	if errors.Is(err, infra.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rec sessionRecord
	if json.Unmarshal(d.Value, &rec) != nil {
		return nil, nil
	}
	now := s.clock.Now()
	token, err := sealer(secret).Open(nil, nil, rec.Sealed, nil)
	if err != nil || rec.over(now) {
		return nil, nil
	}
	owner, err := s.reg.TokenOwner(ctx, string(token))
	if errors.Is(err, infra.ErrNotFound) {
		return nil, nil // revoked
	}
	if err != nil {
		return nil, err
	}
	if now.Sub(rec.SeenAt.Time) > sessionNote {
		rec.SeenAt = events.At(now)
		if err := s.put(ctx, secret, d.Version, rec); err != nil && !errors.Is(err, infra.ErrConflict) {
			return nil, err
		}
	}
	return &session{secret, string(token), owner}, nil
}

// end signs out.
func (s *sessions) end(ctx context.Context, ses *session) error {
	return s.docs.Delete(ctx, sessionCollection, sessionKey(ses.secret), infra.AnyVersion)
}

// forgetOld removes some sessions whose time is over. What fails here is tried at the next signing in.
func (s *sessions) forgetOld(ctx context.Context) {
	page, err := s.docs.List(ctx, sessionCollection, "", infra.ListOptions{})
	if err != nil {
		return
	}
	for _, d := range page.Items {
		var rec sessionRecord
		if json.Unmarshal(d.Value, &rec) != nil || rec.over(s.clock.Now()) {
			_ = s.docs.Delete(ctx, sessionCollection, d.Key, d.Version)
		}
	}
}

// forgery is what a session's forms carry, so that no one else's can be posted in its name.
func (s *session) forgery() string {
	mac := hmac.New(sha256.New, derive(s.secret, "forms"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// cookie is what the browser keeps. It ends with the browser's patience; the store's judgement counts.
func (s *session) cookie(https bool) *http.Cookie {
	return &http.Cookie{
		Name: cookieName(https), Value: base64.RawURLEncoding.EncodeToString(s.secret), Path: "/",
		MaxAge: int(sessionMax / time.Second), HttpOnly: true, Secure: https, SameSite: http.SameSiteLaxMode,
	}
}

// cookieName: the prefix __Host- keeps other hosts of the same domain from setting it, where there is TLS.
func cookieName(https bool) string {
	if https {
		return "__Host-lowrank"
	}
	return "lowrank"
}
