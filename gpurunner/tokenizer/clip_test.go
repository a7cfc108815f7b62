package tokenizer

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var update = flag.Bool("update", false, "write clip_merges.bin again from testdata/merges.txt.gz")

func gunzip(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(path, ".gz") {
		return b
	}
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if b, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return b
}

// clipFolder is the tokenizer folder that an SD 1.x model has, its vocab.json made by the rule that the ids follow.
func clipFolder(t testing.TB) fstest.MapFS {
	t.Helper()
	merges := gunzip(t, filepath.Join("testdata", "merges.txt.gz"))
	var tokens []string
	for _, c := range byteOrder() {
		tokens = append(tokens, string(byteAlphabet()[c]))
	}
	for _, s := range slices.Clone(tokens) {
		tokens = append(tokens, s+wordEnd)
	}
	err := parseMerges(merges, func(left, right []byte) error {
		tokens = append(tokens, string(left)+string(right))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	tokens = append(tokens, startOfText, endOfText)
	vocab := make(map[string]int, len(tokens))
	for i, s := range tokens {
		vocab[s] = i
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // the published file has "</w>" as it is
	if err := enc.Encode(vocab); err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{"vocab.json": {Data: b.Bytes()}, "merges.txt": {Data: merges}}
}

// TestClipMerges holds the embedded vocabulary to the published merges.
func TestClipMerges(t *testing.T) {
	folder := clipFolder(t)
	tokens, err := parseVocabulary(folder["vocab.json"].Data)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBPE(tokens, folder["merges.txt"].Data) // not Load: it would recognise the embedded vocabulary
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := (&config{}).tokenizer(b)
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	ids := map[string]int{}
	for id, token := range loaded.bpe.tokens() {
		ids[token] = id
	}
	_ = parseMerges(gunzip(t, filepath.Join("testdata", "merges.txt.gz")), func(left, right []byte) error {
		want = binary.LittleEndian.AppendUint16(want, uint16(ids[string(left)]))
		want = binary.LittleEndian.AppendUint16(want, uint16(ids[string(right)]))
		return nil
	})
	if *update {
		if err := os.WriteFile("clip_merges.bin", want, 0o644); err != nil {
			t.Fatal(err)
		}
		t.Skip("clip_merges.bin is written; run again without -update")
	}
	if !bytes.Equal(want, clipMerges) {
		t.Fatal("clip_merges.bin differs from testdata/merges.txt.gz: go test ./gpurunner/tokenizer -run TestClipMerges -update")
	}
	sameVocabulary(t, loaded, CLIP())
	if got, err := Load(folder); err != nil || got.bpe != clipVocabulary() {
		t.Errorf("the folder was not recognised (%v)", err)
	}
}

// TestAlmostCLIP: a vocabulary that differs anywhere is not taken for the embedded one.
func TestAlmostCLIP(t *testing.T) {
	folder := clipFolder(t)
	tokens, err := parseVocabulary(folder["vocab.json"].Data)
	if err != nil {
		t.Fatal(err)
	}
	merges := folder["merges.txt"].Data
	if !isCLIP(tokens, merges) {
		t.Fatal("the vocabulary itself is not recognised")
	}
	for _, i := range []int{0, 300, 512, 49405, 49406, 49407} {
		other := slices.Clone(tokens)
		other[i] += "x"
		if isCLIP(other, merges) {
			t.Errorf("a change of token %d was not seen", i)
		}
	}
	lines := bytes.Split(merges, newline)
	for _, i := range []int{1, 20000, 48894} {
		other := slices.Clone(lines)
		other[i] = append(slices.Clone(lines[i]), 'x')
		if isCLIP(tokens, bytes.Join(other, newline)) {
			t.Errorf("a change of line %d was not seen", i)
		}
	}
	if isCLIP(tokens, append(slices.Clone(merges), "a b\n"...)) || isCLIP(tokens, merges[:len(merges)/2]) {
		t.Error("merges of another length were not seen")
	}
}

func sameVocabulary(t *testing.T, got, want *Tokenizer) {
	t.Helper()
	a, b := got.bpe, want.bpe
	switch {
	case a.size != b.size || got.Len() != want.Len():
		t.Errorf("%d tokens, want %d", a.size, b.size)
	case !slices.Equal(a.tokens(), b.tokens()):
		t.Error("the tokens differ")
	case a.inner != b.inner || a.last != b.last:
		t.Error("the bytes' ids differ")
	case !slices.Equal(a.merges.ids, b.merges.ids) || !slices.Equal(a.merges.slots, b.merges.slots):
		t.Error("the merges differ")
	case got.bos != want.bos || got.eos != want.eos || got.unknown != want.unknown:
		t.Error("the special tokens differ")
	}
}
