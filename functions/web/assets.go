package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"sort"
	"strings"
	"sync"
)

//go:embed assets
var assetFiles embed.FS

// asset is one file as it is sent.
type asset struct {
	contentType string
	plain, gzip []byte
}

// library is all assets and a tag that changes with any of them. Modules import each other by relative
// paths, so they all live under one tag, and browsers keep them for ever.
type library struct {
	tag   string
	files map[string]asset
}

var assetTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

var assets = sync.OnceValue(func() library {
	l, err := readAssets(assetFiles)
	if err != nil {
		panic("web: " + err.Error()) // they are part of the program
	}
	return l
})

func readAssets(files fs.FS) (library, error) {
	l := library{files: map[string]asset{}}
	names, err := fs.Glob(files, "assets/*")
	if err != nil {
		return l, err
	}
	sort.Strings(names)
	hash := sha256.New()
	for _, name := range names {
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return l, err
		}
		kind, ok := assetTypes[path.Ext(name)]
		if !ok {
			return l, fmt.Errorf("%s: a file of unknown type", name)
		}
		fmt.Fprintf(hash, "%s %d\n", name, len(content))
		hash.Write(content)
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			return l, err
		}
		if _, err := z.Write(content); err != nil {
			return l, err
		}
		if err := z.Close(); err != nil {
			return l, err
		}
		l.files[path.Base(name)] = asset{kind, content, packed.Bytes()}
	}
	l.tag = hex.EncodeToString(hash.Sum(nil))[:12]
	return l, nil
}

// assetURL is where a page finds an asset.
func assetURL(name string) string { return "/-/assets/" + assets().tag + "/" + name }

// serveAsset is GET /-/assets/{tag}/{name}. Under another tag, of an older page that is still open, the
// present file is sent, not to be kept.
func serveAsset(w http.ResponseWriter, r *http.Request) {
	l := assets()
	a, ok := l.files[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	if r.PathValue("tag") == l.tag {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("Content-Type", a.contentType)
	h.Set("Vary", "Accept-Encoding")
	body := a.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = a.gzip
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	if r.Method != http.MethodHead {
		w.Write(body) // a browser that has gone is no one's error
	}
}
