package main

import (
	"fmt"
	"net/url"
	"strings"
)

// checkAddress holds the value of a flag to be a URL that others can be made from (base) or that can be posted to;
// "" is none. A wrong one would only show in answers that no client can use.
func checkAddress(flag, value string, base bool) error {
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return fmt.Errorf("--%s %s: it must begin with http:// or https:// and name a host, as https://lowrank.example.com does", flag, quoted(value))
	case u.User != nil:
		return fmt.Errorf("--%s: it must not hold a user name or password", flag)
	case strings.Contains(value, "#") || base && (u.RawQuery != "" || u.ForceQuery):
		what := "#"
		if base {
			what = "? or #"
		}
		return fmt.Errorf("--%s %s: it must not have anything behind %s", flag, quoted(value), what)
	}
	return nil
}
