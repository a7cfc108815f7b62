package base

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// WeightFiles lists the files that hold the model's weights, sorted, by the names that a card knows them under.
func (b *Base) WeightFiles() ([]string, error) {
	files := map[string]bool{}
	for _, part := range b.Parts() {
		names, err := b.store.weightFiles(part)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			files[n] = true
		}
	}
	return slices.Sorted(maps.Keys(files)), nil
}

// Hashes reads all weight files and returns their SHA-256, in hex, as a card's "weights" has them. Gigabytes take
// seconds: it stops when ctx is done.
func (b *Base) Hashes(ctx context.Context) (map[string]string, error) {
	files, err := b.WeightFiles()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, name := range files {
		if out[name], err = b.hash(ctx, name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Verify holds the weight files to the card's hashes. It is an error when the card has none, or not all.
func (b *Base) Verify(ctx context.Context) error {
	files, err := b.WeightFiles()
	if err != nil {
		return err
	}
	for _, name := range files {
		want, ok := b.Card.Weights[name]
		if !ok {
			return fmt.Errorf("base model %s: its card has no SHA-256 for %s", b.Card.Name, name)
		}
		got, err := b.hash(ctx, name)
		if err != nil {
			return err
		}
		if !strings.EqualFold(got, want) {
			return fmt.Errorf("base model %s: %s is damaged or another model: its SHA-256 is %s, the card says %s", b.Card.Name, name, got, want)
		}
	}
	return nil
}

func (b *Base) hash(ctx context.Context, name string) (string, error) {
	f, err := b.store.file(name)
	if err != nil {
		return "", fmt.Errorf("base model %s: %w", b.Card.Name, err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, contextReader{ctx, f}); err != nil {
		return "", fmt.Errorf("base model %s: read %s: %w", b.Card.Name, name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Fingerprint identifies the model in 64 hex digits, without reading the weights: from its configurations and, for
// each weight file, the card's SHA-256, or else its size and the names, types and shapes of its tensors. Versions of
// the API's models are derived from it.
func (b *Base) Fingerprint() (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "lowrank base 1\n%s\n", b.Card.Kind)
	paths := []string{schedulerConfig}
	for _, part := range b.Parts() {
		paths = append(paths, part+"/config.json")
	}
	for _, p := range paths {
		text, err := b.Config(p)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %x\n", p, sha256.Sum256(text))
	}
	files, err := b.WeightFiles()
	if err != nil {
		return "", err
	}
	for _, name := range files {
		if sum, ok := b.Card.Weights[name]; ok {
			fmt.Fprintf(h, "sha256 %s\n", strings.ToLower(sum))
			continue
		}
		f, err := b.store.open(name)
		if err != nil {
			return "", err
		}
		for _, t := range f.Tensors() {
			fmt.Fprintf(h, "%q %s %v\n", t.Name, t.DType, t.Shape)
		}
		if err := f.Close(); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// contextReader stops a long copy.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}
