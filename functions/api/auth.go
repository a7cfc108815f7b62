package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// authenticate finds whose token the request carries: "Authorization: Token T" (the client of February
// 2023) or "Bearer T", the scheme in any case. Nothing else is looked at, least of all the query.
func (s *server) authenticate(r *http.Request) (events.Owner, error) {
	unauthenticated := func(detail string) error {
		return &problem{status: http.StatusUnauthorized, title: "Unauthenticated", detail: detail}
	}
	header := r.Header.Get("Authorization")
	scheme, token, _ := strings.Cut(strings.TrimSpace(header), " ")
	token = strings.TrimSpace(token)
	if header == "" || token == "" {
		return "", unauthenticated("You did not pass an authentication token")
	}
	invalid := unauthenticated("You did not pass a valid authentication token")
	if !strings.EqualFold(scheme, "token") && !strings.EqualFold(scheme, "bearer") || len(token) > 500 {
		return "", invalid
	}
	owner, err := s.reg.TokenOwner(r.Context(), token)
	if errors.Is(err, infra.ErrNotFound) {
		return "", invalid
	}
	return owner, err
}

// account says whom the token belongs to.
func (s *server) account(c *call) error {
	return c.writeJSON(http.StatusOK, events.Account{Type: "user", Username: string(c.owner), Name: string(c.owner)})
}
