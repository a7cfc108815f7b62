package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/imageops"
)

// Options of Load.
type Options struct {
	Resolution int // shorter side of the pictures, in pixels
	// Buckets, if any, are the sizes that pictures may have; without, all are
	// squares.
	Buckets []Size
	// Faces makes masks of the faces.
	Faces  bool
	Limits Limits
	// Original reads as the trainer of February 2023: orientation ignored, the
	// last of several files of one name used, only .jpg, .png and .jpeg in
	// lower case, captions only from names.
	Original bool
}

// Load reads a zip or a folder. Errors wrap those of limits.go.
func Load(ctx context.Context, name string, o Options) (*Set, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("training pictures: %w", err)
	}
	if !info.IsDir() {
		if !info.Mode().IsRegular() { // to open a named pipe would wait for somebody to write to it
			return nil, fmt.Errorf("training pictures: %s is neither a zip nor a folder, but a pipe or a device", name)
		}
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("training pictures: %w", err)
		}
		defer f.Close()
		return LoadZip(ctx, f, info.Size(), o)
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("training pictures: %w", err)
	}
	defer root.Close()
	o.Limits = o.Limits.withDefaults()
	files, err := listFolder(root, o.Limits)
	if err != nil {
		return nil, fmt.Errorf("training pictures: %w", err)
	}
	return load(ctx, "folder", files, o)
}

// LoadZip reads a zip of length bytes.
func LoadZip(ctx context.Context, r io.ReaderAt, length int64, o Options) (*Set, error) {
	o.Limits = o.Limits.withDefaults()
	files, err := listZip(r, length, o.Limits)
	if err != nil {
		return nil, fmt.Errorf("training pictures: %w", err)
	}
	return load(ctx, "zip", files, o)
}

func load(ctx context.Context, where string, files []file, o Options) (*Set, error) {
	if o.Resolution < 1 {
		return nil, fmt.Errorf("training pictures: resolution is %d", o.Resolution)
	}
	l := &loader{Options: o, set: &Set{}, budget: budget{o.Limits.Total},
		captions: captions{map[string]string{}, map[string]string{}}}
	slices.SortStableFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	if o.Original {
		files = lastOfEachName(files)
	}
	pictures, err := l.sort(files)
	if err != nil {
		return nil, fmt.Errorf("training pictures: %w", err)
	}
	for _, f := range pictures {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := l.picture(f); err != nil {
			if errors.Is(err, errBudget) {
				return nil, fmt.Errorf("training pictures: the %s: %w (%s)", where, err, size(o.Limits.Total))
			}
			l.skip(f, err.Error())
			continue
		}
		if len(l.set.Pictures) > o.Limits.Pictures {
			return nil, refuse(ErrTooMany, "training pictures: the %s holds more than %d pictures; %d to %d are enough for a concept",
				where, o.Limits.Pictures, FewestAdvised, MostAdvised)
		}
	}
	return l.set, l.finish(where)
}

// lastOfEachName is what unpacking into one folder leaves: files of one name
// overwrite each other.
func lastOfEachName(files []file) []file {
	last := map[string]int{}
	for i, f := range files {
		last[f.base()] = i
	}
	var out []file
	for i, f := range files {
		if last[f.base()] == i {
			f.name = f.base()
			out = append(out, f)
		}
	}
	slices.SortStableFunc(out, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return out
}

type loader struct {
	Options
	set      *Set
	budget   budget
	captions captions
	noFace   []string
	small    []string
}

func (l *loader) skip(f file, reason string) {
	l.set.Skipped = append(l.set.Skipped, Skip{f.name, reason})
}

func (l *loader) note(format string, args ...any) {
	l.set.Notes = append(l.set.Notes, fmt.Sprintf(format, args...))
}

// sort reads the captions, sets aside what cannot be a picture, and returns the
// rest.
func (l *loader) sort(files []file) (pictures []file, err error) {
	seen := map[string]bool{}
	for _, f := range files {
		if seen[f.name] {
			l.note("%s is there twice; both are used", quote(f.name))
		}
		seen[f.name] = true
		reason := hidden(f.name)
		if reason == "" {
			reason = f.reason
		}
		if reason == "" {
			reason = notPicture(f.name, l.Original)
		}
		switch {
		case reason != "":
			l.skip(f, reason)
		case captionFile(f.name):
			if l.Original {
				continue
			}
			b, err := l.budget.read(f, int64(l.Limits.Caption), l.Limits.Ratio)
			if errors.Is(err, errBudget) {
				return nil, err
			}
			text := ""
			if err == nil {
				text, err = decodeCaption(b)
			}
			if err != nil {
				l.skip(f, "it is no caption: "+err.Error())
				continue
			}
			l.captions.add(f, text)
		default:
			pictures = append(pictures, f)
		}
	}
	return pictures, nil
}

// notPicture gives the reason why a file of this name is none, or "".
func notPicture(name string, original bool) string {
	// The original leaves out what ends in mask.png; of those only "x.mask.png"
	// is surely a mask.
	ext, mask := strings.ToLower(path.Ext(name)), ".mask.png"
	if original {
		ext, mask = path.Ext(name), "mask.png"
	}
	if strings.HasSuffix(name, mask) {
		return "a mask, not a picture; masks are made of the faces that are found"
	}
	switch ext {
	case ".jpg", ".jpeg", ".png":
		return ""
	case ".jfif", ".webp", "", ".txt":
		if !original || ext == ".txt" {
			return ""
		}
	case ".heic", ".heif", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".jxl", ".svg", ".psd", ".raw", ".dng", ".cr2", ".nef", ".arw":
		return strings.ToUpper(ext[1:]) + " pictures cannot be read; save it as JPEG, PNG or WebP"
	case ".zip", ".rar", ".7z", ".gz", ".tgz", ".tar", ".bz2", ".xz":
		return "an archive inside; put the pictures themselves there"
	}
	return "not a JPEG, PNG or WebP picture"
}

// picture reads one picture; its error is the reason to skip it.
func (l *loader) picture(f file) error {
	data, err := l.budget.read(f, l.Limits.File, l.Limits.Ratio)
	if err != nil {
		return err
	}
	full, err := imageops.Decode(data, imageops.Options{MaxPixels: l.Limits.Pixels, Original: l.Original})
	var large *imageops.TooLargeError
	switch {
	case errors.As(err, &large):
		return fmt.Errorf("it is %d×%d, more than %d megapixels; make it smaller", large.Width, large.Height, large.MaxPixels/1_000_000)
	case errors.Is(err, imageops.ErrFormat):
		return fmt.Errorf("it is %s, not a JPEG, PNG or WebP picture", contents(data))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("its data end too soon; the picture or its copy is broken")
	case err != nil:
		return fmt.Errorf("the picture is broken: %w", err)
	}
	w, h := full.Width, full.Height
	if max(w, h) > l.Limits.Aspect*min(w, h) {
		return fmt.Errorf("it is %d×%d, more than %d times as long as wide", w, h, l.Limits.Aspect)
	}
	p := Picture{Name: f.name, Original: Size{w, h}}
	var faces []Face
	if l.Faces {
		if faces, err = facesOf(full); err != nil {
			return err
		}
		if len(faces) == 0 {
			l.noFace = append(l.noFace, quote(f.name))
		}
	}
	target := Size{l.Resolution, l.Resolution}
	if len(l.Buckets) > 0 {
		target = nearest(l.Buckets, w, h)
	}
	cut, err := p.fit(full, target)
	if err != nil {
		return err
	}
	if 2*min(w, h) < l.Resolution {
		l.small = append(l.small, quote(f.name))
	}
	if len(faces) > 0 {
		p.Mask = ellipseMask(faces, cut)
	}
	if l.Original {
		p.Caption, p.CaptionFrom = originalNameCaption(f.name), FromName
	} else {
		p.Caption, p.CaptionFrom = l.captions.of(f)
	}
	l.set.Pictures = append(l.set.Pictures, p)
	return nil
}

// At is the picture at another size: scaled to cover it, and the middle kept. It
// has no mask.
func (p *Picture) At(size Size) (Picture, error) {
	out := *p
	out.Mask = nil
	_, err := out.fit(p.Image, size)
	return out, err
}

// fit scales full so that it covers size, and keeps the middle.
func (p *Picture) fit(full *imageops.Picture, size Size) (crop, error) {
	scaled, err := full.ResizeShorter(size.W)
	if size.W != size.H {
		w, h := size.W, size.H
		if full.Width*size.H >= full.Height*size.W { // wider than the target
			w = max(full.Width*size.H/full.Height, size.W)
		} else {
			h = max(full.Height*size.W/full.Width, size.H)
		}
		scaled, err = full.Resize(w, h, imageops.Bilinear)
	}
	if err != nil {
		return crop{}, err
	}
	// Half pixels round to even, as in torchvision's CenterCrop.
	half := func(n int) int { return n/2 + n%2*(n/2%2) }
	c := crop{half(scaled.Width - size.W), half(scaled.Height - size.H), size.W, size.H, scaled.Width, scaled.Height}
	p.Image, err = scaled.Crop(c.x, c.y, c.w, c.h)
	p.CropX, p.CropY = c.x, c.y
	return c, err
}

// facesOf looks for faces in a picture of at most this shorter side: enough for
// the cascade, and quick.
func facesOf(full *imageops.Picture) ([]Face, error) {
	const side = 384
	small := full
	if min(full.Width, full.Height) > side {
		var err error
		if small, err = full.ResizeShorter(side); err != nil {
			return nil, err
		}
	}
	return findFaces(gray(small), small.Width, small.Height)
}

// contents says what bytes are that are no picture.
func contents(data []byte) string {
	if len(data) == 0 {
		return "empty"
	}
	head := data[:min(len(data), 512)]
	for _, b := range head {
		if b < 0x20 && b != '\n' && b != '\r' && b != '\t' {
			return "data of another kind"
		}
	}
	return "text"
}

func (l *loader) finish(where string) error {
	n := len(l.set.Pictures)
	if n == 0 {
		reasons := make([]string, 0, 5)
		for _, s := range l.set.Skipped {
			if len(reasons) == 4 {
				reasons = append(reasons, fmt.Sprintf("and %d more", len(l.set.Skipped)-4))
				break
			}
			reasons = append(reasons, s.String())
		}
		if len(reasons) == 0 {
			reasons = append(reasons, "it holds no files")
		}
		return refuse(ErrNoPictures, "training pictures: the %s holds no picture that can be used (%s); put JPEG, PNG or WebP pictures into it", where, strings.Join(reasons, "; "))
	}
	if n < FewestAdvised || n > MostAdvised {
		l.note("%s; %d to %d train best", Count(n), FewestAdvised, MostAdvised)
	}
	if len(l.small) > 0 {
		l.note("less than half as large as the resolution, and enlarged: %s", list(l.small))
	}
	if len(l.noFace) > 0 {
		l.note("no face was found, so these are trained without a mask: %s", list(l.noFace))
	}
	return nil
}

func list(names []string) string {
	if len(names) > 10 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:10], ", "), len(names)-10)
	}
	return strings.Join(names, ", ")
}
