package fetch

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
)

func TestPublic(t *testing.T) {
	for address, want := range map[string]bool{
		"8.8.8.8": true, "93.184.216.34": true, "172.15.255.255": true, "172.32.0.1": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "127.8.9.1": false, "0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "172.16.0.1": false,
		"172.31.255.255": false, "192.168.1.1": false, "169.254.169.254": false, "100.100.100.200": false, "224.0.0.1": false,
		"240.0.0.1": false, "255.255.255.255": false, "198.18.0.1": false, "192.0.0.192": false, "203.0.113.5": false,
		"::": false, "::1": false, "fe80::1": false, "fe80::1%eth0": false, "fc00::1": false, "fd00:ec2::254": false, "ff02::1": false,
		"::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "::127.0.0.1": false, "64:ff9b::a9fe:a9fe": false,
		"2002:7f00:1::": false, "2001:db8::1": false, "2001::1": false, "fec0::1": false,
	} {
		if got := Public(netip.MustParseAddr(address)); got != want {
			t.Errorf("Public(%s) = %v, want %v", address, got, want)
		}
	}
}

// Whatever a name resolves to at the moment of dialing is judged, so a name that
// looked harmless before does not get through.
func TestLoopbackIsRefused(t *testing.T) {
	asked := false
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer s.Close()
	port := s.URL[strings.LastIndex(s.URL, ":")+1:]
	f := open(t, Options{})
	for _, host := range []string{"127.0.0.1", "localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "2130706433", "0x7f000001", "017700000001"} {
		_, err := f.Fetch(t.Context(), "http://"+host+":"+port+"/")
		if infra.KindOf(err) != infra.ErrInvalid {
			t.Errorf("host %s: got %v, want a refusal", host, err)
		}
	}
	if asked {
		t.Error("the server on loopback was reached")
	}
}

func TestCheckURL(t *testing.T) {
	for raw, ok := range map[string]bool{
		"https://example.com/a.zip": true, "http://example.com:8443": true, "HTTPS://EXAMPLE.com": true, "http://8.8.8.8/": true,
		"": false, "example.com": false, "ftp://example.com": false, "file:///etc/passwd": false, "gopher://x": false, "http://": false,
		"http://a:b@example.com": false, "http://169.254.169.254": false, "http://[fe80::1%25eth0]/": false, "javascript:alert(1)": false,
		"http://exa mple.com": false, "http://127.0.0.1": false, "data:,x": false,
	} {
		err := CheckURL(raw, Options{})
		if (err == nil) != ok || err != nil && infra.KindOf(err) != infra.ErrInvalid {
			t.Errorf("CheckURL(%q) = %v, want ok %v", raw, err, ok)
		}
	}
	if err := CheckURL("http://127.0.0.1:1", Options{AllowLoopback: true}); err != nil {
		t.Errorf("loopback was allowed, but: %v", err)
	}
	if err := CheckURL("http://10.0.0.1", Options{AllowLoopback: true}); err == nil {
		t.Error("allowing loopback allowed a private address")
	}
}

func TestWebhookClient(t *testing.T) {
	asked := 0
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	resp, err := WebhookClient(Options{AllowLoopback: true}, time.Minute).Post(target, "application/json", strings.NewReader("{}"))
	if err != nil || resp.StatusCode != http.StatusTemporaryRedirect || asked != 1 {
		t.Errorf("got %v after %d requests, want the redirect itself after one", err, asked)
	}
	for _, u := range []string{target, "http://169.254.169.254/", "file:///etc/passwd", "http://user@example.com"} {
		if _, err := WebhookClient(Options{}, time.Minute).Post(u, "application/json", strings.NewReader("{}")); err == nil {
			t.Errorf("a post to %s was not refused", u)
		}
	}
	if asked != 1 {
		t.Error("a refused post arrived")
	}
}

func TestDirect(t *testing.T) {
	const id = "1aBcDeFgHiJkLmNoPqRsTuVwXyZ_-0123"
	const file = "https://drive.usercontent.google.com/download?confirm=t&export=download&id=" + id
	for raw, want := range map[string]string{
		"https://drive.google.com/file/d/" + id + "/view?usp=sharing":              file,
		"https://drive.google.com/file/d/" + id + "/view?usp=drive_link&pli=1":     file,
		"https://drive.google.com/file/d/" + id:                                    file,
		"https://drive.google.com/open?id=" + id:                                   file,
		"https://drive.google.com/uc?id=" + id + "&export=download":                file,
		"https://docs.google.com/uc?export=download&id=" + id:                      file,
		"https://drive.google.com/file/d/" + id + "/view?resourcekey=0-abc":        file + "&resourcekey=0-abc",
		"https://drive.google.com/drive/folders/" + id:                             "",
		"https://drive.google.com/open?id=../../x":                                 "",
		"https://evil.example/file/d/" + id + "/view":                              "",
		"https://drive.google.com.evil.example/file/d/" + id + "/view?usp=sharing": "",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if want == "" {
			want = raw
		}
		if got := direct(u).String(); got != want {
			t.Errorf("direct(%s)\n = %s\nwant %s", raw, got, want)
		}
	}
}

func TestCleanName(t *testing.T) {
	long := strings.Repeat("写", 100)
	for name, want := range map[string]string{
		"a.zip": "a.zip", "/x/y/My Photos.zip": "My Photos.zip", `C:\x\a.zip`: "a.zip", "../../etc/passwd": "passwd", "..": "", ".": "",
		"": "", "/": "", "a\x00b\n.zip": "ab.zip", "\xff.zip": ".zip", long + ".zip": strings.Repeat("写", 65) + ".zip",
	} {
		if got := cleanName(name); got != want {
			t.Errorf("cleanName(%q) = %q, want %q", name, got, want)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, seed := range []string{"https://drive.google.com/file/d/1aBcDeFgHiJ/view", "http://[::1%25]:80", "http://0x7f.1/", "//host", "http://%zz", "data:,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if CheckURL(raw, Options{}) != nil {
			return
		}
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatalf("accepted, but cannot be read: %v", err)
		}
		u = direct(u)
		if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			t.Errorf("accepted %q, which leads to %q", raw, u)
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && !Public(a) {
			t.Errorf("accepted the address %v", a)
		}
	})
}

func FuzzCleanName(f *testing.F) {
	for _, seed := range []string{"a.zip", "../..", `..\..`, "\x00", "a/.", strings.Repeat("é", 300), fmt.Sprintf("a.%0300d", 1)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		name := cleanName(raw)
		if strings.ContainsAny(name, "/\\\x00\n") || name == "." || name == ".." || len(name) > 200 {
			t.Errorf("cleanName(%q) = %q", raw, name)
		}
	})
}
