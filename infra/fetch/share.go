package fetch

import (
	"net/url"
	"regexp"
	"strings"
)

var driveFile = regexp.MustCompile(`^/file/d/([A-Za-z0-9_-]{10,100})(/|$)`)
var driveID = regexp.MustCompile(`^[A-Za-z0-9_-]{10,100}$`)

// direct turns a share link of Google Drive, which answers with a web page, into
// the address of the file itself. Other URLs stay as they are.
//
//	https://drive.google.com/file/d/ID/view?usp=sharing
//	https://drive.google.com/open?id=ID, /uc?id=ID, docs.google.com/uc?id=ID
//
// A file above some 100 MB asks whether to go on though it was not scanned for
// viruses; confirm=t answers that.
func direct(u *url.URL) *url.URL {
	host := strings.ToLower(u.Hostname())
	if host != "drive.google.com" && host != "docs.google.com" {
		return u
	}
	id := ""
	if m := driveFile.FindStringSubmatch(u.Path); m != nil {
		id = m[1]
	} else if u.Path == "/open" || u.Path == "/uc" {
		id = u.Query().Get("id")
	}
	if !driveID.MatchString(id) {
		return u
	}
	q := url.Values{"id": {id}, "export": {"download"}, "confirm": {"t"}}
	if key := u.Query().Get("resourcekey"); key != "" {
		q.Set("resourcekey", key)
	}
	return &url.URL{Scheme: "https", Host: "drive.usercontent.google.com", Path: "/download", RawQuery: q.Encode()}
}
