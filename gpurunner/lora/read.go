package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// Open reads an adapter file for a base model; of a folder that diffusers or
// PEFT saved, the file in it. A file of another base is a
// *MismatchError, one with algorithms that are not implemented an
// *UnsupportedError, anything else that is wrong with it a *FileError or
// *safetensors.FormatError.
func Open(path string, base *Base) (*Set, error) {
	return openFile(path, func(s *source) (*Set, error) { return read(s, base) })
}

// OpenAny reads an adapter file for that one of bases, then of Known, which
// it fits best.
func OpenAny(path string, bases ...*Base) (*Set, error) {
	return openFile(path, func(s *source) (*Set, error) { return readAny(s, bases) })
}

// Read is Open of a file that is open already. The set keeps nothing of it.
func Read(f *safetensors.File, base *Base) (*Set, error) { return read(newSource(f), base) }

// ReadAny is OpenAny of a file that is open already.
func ReadAny(f *safetensors.File, bases ...*Base) (*Set, error) {
	return readAny(newSource(f), bases)
}

func openFile(path string, then func(*source) (*Set, error)) (*Set, error) {
	path, err := inFolder(path)
	if err != nil {
		return nil, err
	}
	f, err := safetensors.Open(path)
	if err != nil {
		switch reason := notSafetensors(path); reason {
		case "":
			return nil, err
		case isTorch:
			if f, err = openTorch(path); err != nil {
				return nil, err
			}
		case isPicture:
			if f, err = openPicture(path); err != nil {
				return nil, err
			}
		default:
			return nil, &FileError{File: path, Reason: reason}
		}
	}
	defer f.Close()
	s := newSource(f)
	if s.peft, err = peftConfig(path); err != nil {
		return nil, err
	}
	return then(s)
}

// notSafetensors' words for what torch.save writes, and for PNG pictures.
const (
	isTorch   = "torch"
	isPicture = "picture"
)

// notSafetensors recognises what else people have.
func notSafetensors(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	var head [4]byte
	if n, _ := f.Read(head[:]); n < len(head) {
		return ""
	}
	switch {
	case string(head[:]) == "PK\x03\x04":
		return isTorch
	case head[0] == 0x80 && head[1] >= 2 && head[1] <= 5:
		return "is a Python pickle without a zip around it, as PyTorch wrote before 2020; save it as .safetensors, for instance with safetensors.torch.save_file"
	case string(head[1:]) == "PNG":
		return isPicture
	}
	return ""
}

// folderFiles are the names that diffusers and PEFT give an adapter's file in
// the folder that they save, the newest first.
var folderFiles = []string{"adapter_model.safetensors", "pytorch_lora_weights.safetensors", "learned_embeds.safetensors",
	"adapter_model.bin", "pytorch_lora_weights.bin", "learned_embeds.bin"}

// inFolder is the adapter's file where path is the folder around it, else path.
// What is neither is refused here: to open a named pipe would wait for somebody
// to write to it.
func inFolder(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return path, nil // opening it says what is wrong
	case !info.IsDir():
		return path, regular(path, info)
	}
	for _, name := range folderFiles {
		name = filepath.Join(path, name)
		if info, err := os.Stat(name); err == nil {
			return name, regular(name, info)
		}
	}
	return "", &FileError{File: path, Reason: fmt.Sprintf("is a folder, and none that diffusers or PEFT saved: it has no %s; give the file itself", strings.Join(folderFiles[:3], ", no "))}
}

func regular(path string, info os.FileInfo) error {
	if info.Mode().IsRegular() {
		return nil
	}
	return &FileError{File: path, Reason: "is not a regular file; give the file itself, not a pipe or a device"}
}

// peftConfig reads adapter_config.json beside PEFT's adapter_model file:
// it has the scale, which the tensors have not.
func peftConfig(path string) (map[string]any, error) {
	if name := filepath.Base(path); name != "adapter_model.safetensors" && name != "adapter_model.bin" {
		return nil, nil
	}
	file := filepath.Join(filepath.Dir(path), "adapter_config.json")
	info, err := os.Stat(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = regular(file, info)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("read PEFT's configuration: %w", err)
	}
	var config map[string]any
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, &FileError{File: file, Reason: fmt.Sprintf("is not valid JSON: %v", err)}
	}
	return config, nil
}

// plan is what a file would be on a base, before its numbers are read.
type plan struct {
	format Format
	era    string
	layers []*layer
	words  []*word
	unused []string
}

// layer is the tensors of one module.
type layer struct {
	module *Module
	keys   map[role]string
	// metaScale is what the file's metadata say of the scale, 0 for nothing.
	metaAlpha float64
	rootRank  bool // the scale is alpha/√rank
}

func (p *plan) used() int {
	n := len(p.words)
	for _, l := range p.layers {
		n += len(l.keys)
	}
	return n
}

func makePlan(s *source, b *Base) (*plan, error) {
	p := &plan{}
	p.format, p.era = detect(s.keys)
	err := p.fill(s, b)
	if err != nil {
		return nil, err
	}
	if p.used() == 0 {
		return nil, s.fail("holds nothing that fits %s: none of its %d keys is known (%s)", b.describe(), len(s.keys), some(s.keys))
	}
	return p, nil
}

func (p *plan) fill(s *source, b *Base) error {
	if len(s.keys) == 0 {
		return s.fail("holds no tensors")
	}
	rest, err := p.takeWords(s, b, s.keys)
	if err != nil {
		return err
	}
	if p.format == Cloneofsimo {
		return p.takeNumbered(s, b, rest)
	}
	return p.takeNamed(s, b, rest)
}

func read(s *source, b *Base) (*Set, error) {
	if err := s.checkForeign(); err != nil {
		return nil, err
	}
	p, err := makePlan(s, b)
	if err != nil {
		var wrong *MismatchError
		if errors.As(err, &wrong) {
			for _, other := range Known() {
				if _, err := makePlan(s, other); err == nil {
					wrong.Fits = other.Name
					break
				}
			}
		}
		return nil, err
	}
	return p.load(s, b)
}

// readAny takes the base on which a file uses most keys; the first of equals. If
// it fits none, the error is that of the base that is nearest to it.
func readAny(s *source, bases []*Base) (*Set, error) {
	if err := s.checkForeign(); err != nil {
		return nil, err
	}
	var best *plan
	var on *Base
	var tried []string
	var errs []error
	all := append(append([]*Base(nil), bases...), Known()...)
	for _, b := range all {
		p, err := makePlan(s, b)
		tried, errs = append(tried, b.Name), append(errs, err)
		if err == nil && (best == nil || p.used() > best.used()) {
			best, on = p, b
		}
	}
	if best != nil {
		return best.load(s, on)
	}
	nearest := 0
	for i, most := 0, -1; i < len(all); i++ {
		if n := s.nearness(all[i]); n > most {
			nearest, most = i, n
		}
	}
	var wrong *MismatchError
	if errors.As(errs[nearest], &wrong) {
		return nil, s.fail("fits none of the base models %s: %s", strings.Join(tried, ", "), wrong.Reason)
	}
	return nil, errs[nearest]
}

func isMismatch(err error) bool {
	var wrong *MismatchError
	return errors.As(err, &wrong)
}

// load reads the numbers.
func (p *plan) load(s *source, b *Base) (*Set, error) {
	set := &Set{Name: s.name, Base: b, Metadata: s.meta, Unused: p.unused, Format: p.format, Era: p.era}
	if err := refuse(s, p.layers); err != nil {
		return nil, err
	}
	var factors []string
	budget := expanded(maxExpanded)
	for _, l := range p.layers {
		a, err := l.load(s, &budget)
		if err != nil {
			return nil, err
		}
		set.Adapters = append(set.Adapters, a)
		for _, k := range l.keys {
			factors = append(factors, k)
		}
	}
	var err error
	if set.Tokens, err = loadWords(s, b, p.words); err != nil {
		return nil, err
	}
	set.DType = s.dtype(factors)
	set.sort()
	return set, nil
}
