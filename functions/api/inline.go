package api

import (
	"bytes"
	"errors"
	"mime"
	"net/url"
	"strings"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/registry"
)

// inlineLimit is how long a data: URL may be that stays in the record; longer ones are kept in a blob
// and echoed as a URL, or every poll and list would carry them.
const inlineLimit = 8 << 10

// inliner goes through the URLs of an input: data that is inside it moves to a blob, and what is our
// own (uploads, files, outputs) is pinned to the content that is there now.
type inliner struct {
	*server
	call    *call
	job     *events.Job
	known   string   // a URL that is already among the sources
	uploads []string // tokens of the uploads that the job needs
}

// resolve replaces and pins; its errors name the input.
func (in *inliner) resolve(input map[string]any) error {
	for _, name := range []string{"instance_data", "image", "mask"} {
		if u, ok := input[name].(string); ok && u != "" {
			v, err := in.one(name, u)
			if err != nil {
				return err
			}
			input[name] = v
		}
	}
	if list, ok := input["lora_urls"].(string); ok {
		parts := events.SplitList(list)
		changed := false
		for i, u := range parts {
			v, err := in.one("lora_urls", u)
			if err != nil {
				return err
			}
			changed = changed || v != u
			parts[i] = v
		}
		if changed {
			input["lora_urls"] = strings.Join(parts, "|")
		}
	}
	return nil
}

func (in *inliner) one(name, u string) (string, error) {
	if u == in.known {
		return u, nil
	}
	if len(u) >= 5 && strings.EqualFold(u[:5], "data:") {
		return in.data(name, u)
	}
	src, token, err := in.own(u)
	if err != nil {
		var p *problem
		if errors.As(err, &p) {
			return "", events.Invalid("condition", "input."+name, p.detail)
		}
		return "", err
	}
	if src != nil {
		in.job.Sources = append(in.job.Sources, *src)
	}
	if token != "" {
		in.uploads = append(in.uploads, token)
	}
	return u, nil
}

// data moves a long data: URL to an upload of its own.
func (in *inliner) data(name, u string) (string, error) {
	mediaType, b, ok := events.ParseDataURL(u)
	if !ok {
		return "", events.Invalid("format", "input."+name, "The data: URL cannot be read; its base64 may be broken")
	}
	if len(u) <= inlineLimit {
		return u, nil
	}
	now := in.jobs.Now()
	fileName := "data" + extension(mediaType)
	up := in.newUpload(in.call, fileName)
	info, err := in.Ports.Blobs.Put(in.call.Context(), up.key, bytes.NewReader(b), infra.PutOptions{ContentType: plainType(mediaType)})
	if err != nil {
		return "", err
	}
	err = in.reg.AddUpload(in.call.Context(), registry.Upload{
		Token: up.token, Owner: in.call.owner, Name: fileName, Key: up.key, CreatedAt: events.At(now),
		ReceivedAt: events.At(now), Generation: info.Generation, ETag: info.ETag, Size: info.Size,
	})
	if err != nil {
		return "", err
	}
	in.uploads = append(in.uploads, up.token)
	in.job.Sources = append(in.job.Sources, events.Source{URL: up.url, Key: up.key, Generation: info.Generation, Name: fileName})
	return up.url, nil
}

// own finds a URL that names something here. Which host it names does not matter where the path holds
// a secret that only we can have given; a path of ours on our host that names nothing is refused with
// the reason. A nil source is a URL of someone else's.
func (in *inliner) own(address string) (*events.Source, string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, "", nil
	}
	ctx := in.call.Context()
	ours := in.ownHost(u)
	missing := func(detail string) (*events.Source, string, error) {
		if !ours {
			return nil, "", nil
		}
		return nil, "", badRequest(detail)
	}
	path := u.Path
	if p := strings.TrimRight(in.UploadsURL, "/"); p != "" && strings.HasPrefix(address, p+"/") {
		path = "/serving" + strings.TrimPrefix(u.Path, pathOf(p))
	} else if p := strings.TrimRight(in.OutputsURL, "/"); p != "" && strings.HasPrefix(address, p+"/pbxt/") {
		path = strings.TrimPrefix(u.Path, pathOf(p))
	}
	segments := strings.Split(strings.TrimLeft(path, "/"), "/")
	switch {
	case len(segments) == 3 && segments[0] == "serving":
		up, err := in.reg.Upload(ctx, segments[1])
		if errors.Is(err, infra.ErrNotFound) || err == nil && up.Name != segments[2] {
			return missing("There is no such upload here; it may have expired.")
		}
		if err != nil {
			return nil, "", err
		}
		info, err := in.Ports.Blobs.Stat(ctx, up.Key, "")
		if errors.Is(err, infra.ErrNotFound) {
			return nil, "", badRequest("Nothing has been uploaded to this serving_url. PUT the file to its upload_url first.")
		}
		if err != nil {
			return nil, "", err
		}
		return &events.Source{URL: address, Key: up.Key, Generation: info.Generation, Name: up.Name}, up.Token, nil
	case len(segments) == 3 && segments[0] == "v1" && segments[1] == "files":
		f, err := in.reg.File(ctx, in.call.owner, segments[2])
		if errors.Is(err, infra.ErrNotFound) {
			return missing("There is no such file here; it may have been deleted.")
		}
		if err != nil {
			return nil, "", err
		}
		return &events.Source{URL: address, Key: f.Key, Generation: f.Generation, Name: f.Name}, "", nil
	case len(segments) == 3 && segments[0] == "pbxt":
		key := events.OutputKeyOfPath(segments[1], segments[2])
		if infra.CheckKey(key) != nil {
			return missing("There is no such output here.")
		}
		info, err := in.Ports.Blobs.Stat(ctx, key, "")
		if errors.Is(err, infra.ErrNotFound) {
			return missing("There is no such output here; it may have been deleted.")
		}
		if err != nil {
			return nil, "", err
		}
		return &events.Source{URL: address, Key: key, Generation: info.Generation, Name: segments[2]}, "", nil
	}
	return nil, "", nil
}

// ownHost reports whether a URL is on a host that this server is known by.
func (in *inliner) ownHost(u *url.URL) bool {
	for _, base := range []string{in.call.links.API, in.call.links.Outputs, in.UploadsURL} {
		if b, err := url.Parse(base); err == nil && b.Host != "" && strings.EqualFold(b.Host, u.Host) {
			return true
		}
	}
	return false
}

func pathOf(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	return u.Path
}

// plainType is a media type without parameters, or "" when it is none.
func plainType(mediaType string) string {
	t, _, err := mime.ParseMediaType(mediaType)
	if err != nil {
		return ""
	}
	return t
}

// extension gives data without a name the ending of its type.
func extension(mediaType string) string {
	switch plainType(mediaType) {
	case "application/zip", "application/x-zip-compressed":
		return ".zip"
	case "image/png":
		return ".png"
	case "image/jpeg":
		return ".jpg"
	case "image/webp":
		return ".webp"
	}
	return ""
}
