package fetch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// special are the blocks that IANA's special-purpose registries
// (iana-ipv4-special-registry, iana-ipv6-special-registry) keep from the public
// network, as far as netip's own methods do not tell them, and those that embed
// an IPv4 address, which could name a private one.
var special = func() (all []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8",       // this network, RFC 791
		"100.64.0.0/10",   // shared address space, RFC 6598; a cloud's metadata too
		"192.0.0.0/24",    // IETF protocol assignments, RFC 6890
		"192.0.2.0/24",    // documentation, RFC 5737
		"192.88.99.0/24",  // 6to4 relays, RFC 7526
		"198.18.0.0/15",   // benchmarks, RFC 2544
		"198.51.100.0/24", // documentation
		"203.0.113.0/24",  // documentation
		"240.0.0.0/4",     // reserved and broadcast, RFC 1112
		"::/96",           // IPv4-compatible, RFC 4291
		"64:ff9b::/96",    // IPv4 translation, RFC 6052
		"64:ff9b:1::/48",  // local translation, RFC 8215
		"100::/64",        // discard, RFC 6666
		"100:0:0:1::/64",  // dummy prefix, RFC 9780
		"2001::/23",       // IETF protocol assignments, Teredo among them
		"2001:db8::/32",   // documentation, RFC 3849
		"2002::/16",       // 6to4, RFC 3056
		"3fff::/20",       // documentation, RFC 9637
		"5f00::/16",       // segment routing, RFC 9602
		"fec0::/10",       // site-local, RFC 3879
	} {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}()

// Public reports whether a is an address of the public network: not loopback,
// private, link-local (where clouds keep their metadata), multicast or otherwise
// special.
func Public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// ErrPrivate is why a connection is refused; its text is a sentence for the user.
var ErrPrivate = errors.New("the URL leads to an address that is not public; use one that everybody can reach")

// control judges an address right before the connection is made.
func control(allowLoopback bool) func(network, address string, c syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("dial %s: %w", address, err)
		}
		if Public(ap.Addr()) || allowLoopback && ap.Addr().Unmap().IsLoopback() {
			return nil
		}
		return ErrPrivate
	}
}

// transport dials guarded addresses only. Nothing of the environment, such as a
// proxy, changes where it goes.
func transport(o Options) *http.Transport {
	d := &net.Dialer{Timeout: answerWithin, Control: control(o.AllowLoopback)}
	return &http.Transport{
		DialContext:            d.DialContext,
		TLSClientConfig:        o.TLS,
		TLSHandshakeTimeout:    answerWithin,
		ResponseHeaderTimeout:  answerWithin,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConnsPerHost:    2,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // what arrives is what is counted and hashed
		ForceAttemptHTTP2:      true,
	}
}

// WebhookClient posts to users' URLs. It follows no redirect (a receiver that
// sends one gets its answer as it is) and gives up after timeout.
func WebhookClient(o Options, timeout time.Duration) *http.Client {
	return &http.Client{
		Transport:     checked{transport(o)},
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// checked judges the URL of every request, those that redirects make included.
type checked struct{ next http.RoundTripper }

func (c checked) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := checkURL(r.URL); err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	return c.next.RoundTrip(r)
}

// CheckURL says, without the network, whether raw can be fetched or posted to at
// all: http or https with a host, no user name in it, and, when the host is an
// address, a public one. The error is a sentence for the user.
func CheckURL(raw string, o Options) error {
	u, err := url.Parse(raw)
	if err != nil {
		return refuse("the URL cannot be read", nil)
	}
	if err := checkURL(u); err != nil {
		return err
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && !Public(a) && !(o.AllowLoopback && a.Unmap().IsLoopback()) {
		return refuse(ErrPrivate.Error(), nil)
	}
	return nil
}

func checkURL(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return refuse("only http, https and data URLs can be used", nil)
	case u.Hostname() == "":
		return refuse("the URL names no host", nil)
	case u.User != nil:
		return refuse("the URL holds a user name or password; use one without", nil)
	}
	return nil
}

// client follows up to 10 redirects, each checked like the first URL.
func client(o Options) *http.Client {
	return &http.Client{
		Transport: checked{transport(o)},
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) >= 10 {
				return refuse("the URL redirects more than 10 times", nil)
			}
			return nil
		},
	}
}

// sleep waits d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
