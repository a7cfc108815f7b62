package main

import (
	"strings"
	"testing"
)

func TestCheckAddress(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		base        bool
		err         string // "" is none
	}{
		{"None", "", true, ""},
		{"Host", "https://lowrank.example.com", true, ""},
		{"Slash", "https://lowrank.example.com/", true, ""},
		{"Port", "http://127.0.0.1:8222", true, ""},
		{"IPv6", "http://[::1]:8222", true, ""},
		{"Path", "https://example.com/lowrank", true, ""},
		{"EventQuery", "https://example.com/?key=1", false, ""},
		{"ErrNoScheme", "127.0.0.1:8222", true, "must begin with http:// or https://"},
		{"ErrName", "localhost:8222", true, "must begin with http:// or https://"},
		{"ErrWord", "foo", true, "must begin with http:// or https://"},
		{"ErrScheme", "ftp://x", true, "must begin with http:// or https://"},
		{"ErrNoHost", "http://", true, "name a host"},
		{"ErrOnlyPort", "http://:8222", true, "name a host"},
		{"ErrPath", "/v1", true, "must begin with http:// or https://"},
		{"ErrQuery", "http://x?a=1", true, "behind ? or #"},
		{"ErrBareQuery", "http://x?", true, "behind ? or #"},
		{"ErrFragment", "http://x#a", true, "behind ? or #"},
		{"ErrUser", "http://me:secret@x", true, "user name"},
		{"ErrEventWord", "foo", false, "must begin with http:// or https://"},
		{"ErrEventFragment", "http://x#a", false, "behind #"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkAddress("public-url", tt.value, tt.base)
			switch {
			case tt.err == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), "--public-url")):
				t.Errorf("got %v, want %q", err, tt.err)
			case err != nil && strings.Contains(err.Error(), "secret"):
				t.Errorf("%v repeats a password", err)
			}
		})
	}
}
