package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// Token is what is stored of a token: never the token itself.
type Token struct {
	Hash      string       `json:"hash"` // hex SHA-256; its first 8 digits name the token to people
	Owner     events.Owner `json:"owner"`
	CreatedAt events.Time  `json:"created_at"`
}

// DefaultOwner owns tokens that are made without a name.
const DefaultOwner events.Owner = "me"

var ownerPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckOwner says whether a name can own tokens. The names of the built-in models' owners cannot.
func CheckOwner(o events.Owner) error {
	if !ownerPattern.MatchString(string(o)) {
		return fmt.Errorf("owner %q: use 1 to 63 lower-case letters, digits and inner hyphens", o)
	}
	for _, m := range events.BuiltIns {
		if string(o) == m.Owner {
			return fmt.Errorf("owner %q is the name of the built-in models' owner; choose another", o)
		}
	}
	return nil
}

const tokenCollection = "tokens"

func hashToken(token string) string {
	h := sha256.Sum256([]byte(token))
	return hex.EncodeToString(h[:])
}

// CreateToken makes a token for an owner and returns it. This is the only time it is seen.
func (r *Registry) CreateToken(ctx context.Context, o events.Owner, now time.Time) (string, error) {
	if err := CheckOwner(o); err != nil {
		return "", err
	}
	token := "r8_" + strings.NewReplacer("-", "A", "_", "B").Replace(events.NewSecret()) // r8_ and 32 letters and digits, as Replicate's look
	return token, r.AddToken(ctx, token, o, now)
}

// AddToken stores the hash of a token that was made elsewhere. Doing so twice is no error.
func (r *Registry) AddToken(ctx context.Context, token string, o events.Owner, now time.Time) error {
	if err := CheckOwner(o); err != nil {
		return err
	}
	h := hashToken(token)
	err := r.put(ctx, tokenCollection, h, 0, Token{Hash: h, Owner: o, CreatedAt: events.At(now)})
	if errors.Is(err, infra.ErrConflict) {
		return nil
	}
	return err
}

// TokenOwner returns whom a token belongs to; infra.ErrNotFound when no one.
func (r *Registry) TokenOwner(ctx context.Context, token string) (events.Owner, error) {
	var t Token
	_, err := r.get(ctx, tokenCollection, hashToken(token), &t)
	return t.Owner, err
}

// Tokens lists all tokens, in no order that means anything.
func (r *Registry) Tokens(ctx context.Context) ([]Token, error) {
	return all[Token](ctx, r, tokenCollection, "")
}

// RevokeToken removes the token that a prefix of its hash names (8 digits at least), or the token
// itself. It returns what was removed; infra.ErrNotFound, or infra.ErrInvalid when several fit.
func (r *Registry) RevokeToken(ctx context.Context, name string) (Token, error) {
	if strings.HasPrefix(name, "r8_") {
		name = hashToken(name)
	}
	if len(name) < 8 {
		return Token{}, &infra.Error{Op: "registry.RevokeToken", Kind: infra.ErrInvalid, Err: errors.New("name at least 8 digits of the token's hash, as the list shows them")}
	}
	found, err := all[Token](ctx, r, tokenCollection, name)
	switch {
	case err != nil:
		return Token{}, err
	case len(found) == 0:
		return Token{}, &infra.Error{Op: "registry.RevokeToken", Kind: infra.ErrNotFound, Err: errors.New("no token has this hash")}
	case len(found) > 1:
		return Token{}, &infra.Error{Op: "registry.RevokeToken", Kind: infra.ErrInvalid, Err: errors.New("several tokens' hashes begin so; give more digits")}
	}
	return found[0], r.remove(ctx, tokenCollection, found[0].Hash, infra.AnyVersion)
}
