package tokenizer

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"strings"
	"sync"
)

// clipMerges is merges.txt of OpenAI's CLIP (MIT licence) as pairs of little-endian 16-bit ids. Everything else of the
// vocabulary follows from it: ids 0–255 are the bytes, 256–511 the bytes that end a word, 512 on the merges in
// order, then the two special tokens. TestClipMerges makes it again from testdata/merges.txt.gz and compares.
//
//go:embed clip_merges.bin
var clipMerges []byte

const (
	startOfText = "<|startoftext|>"
	endOfText   = "<|endoftext|>"
)

// CLIP returns the tokenizer of OpenAI's CLIP, as Stable Diffusion 1.x uses it: 49408 tokens, padding by the end
// token. The vocabulary is unpacked once a process.
func CLIP() *Tokenizer {
	b := clipVocabulary()
	t := &Tokenizer{bpe: b, maxLength: 77}
	t.bos, t.eos = b.size-2, b.size-1
	t.pad, t.unknown = t.eos, t.eos
	t.special.add(startOfText, t.bos)
	t.special.add(endOfText, t.eos)
	return t
}

var clipVocabulary = sync.OnceValue(func() *bpe {
	n := len(clipMerges) / 4
	b := &bpe{size: 512 + n + 2, merges: newMergeTable(n)}
	for i, c := range byteOrder() {
		b.inner[c], b.last[c] = int32(i), int32(256+i)
	}
	for i := range n {
		left, right := clipPair(i)
		b.merges.add(int32(left), int32(right), int32(512+i))
	}
	b.tokens = sync.OnceValue(func() []string {
		tokens := make([]string, 0, b.size)
		for _, c := range byteOrder() {
			tokens = append(tokens, string(byteAlphabet()[c]))
		}
		for _, t := range tokens[:256] {
			tokens = append(tokens, t+wordEnd)
		}
		for i := range n {
			left, right := clipPair(i)
			tokens = append(tokens, tokens[left]+tokens[right])
		}
		return append(tokens, startOfText, endOfText)
	})
	return b
})

// clipPair is the pair of the merge of rank i.
func clipPair(i int) (left, right int) {
	pair := clipMerges[4*i:]
	return int(binary.LittleEndian.Uint16(pair)), int(binary.LittleEndian.Uint16(pair[2:]))
}

// isCLIP reports whether a folder's vocabulary is the embedded one, as that of nearly every Stable Diffusion is: then
// nothing needs to be looked up or built. It compares every token and every merge, and makes no string.
func isCLIP(tokens []string, merges []byte) bool {
	n := len(clipMerges) / 4
	if len(tokens) != 512+n+2 || tokens[512+n] != startOfText || tokens[512+n+1] != endOfText {
		return false
	}
	for i, c := range byteOrder() {
		s := string(byteAlphabet()[c])
		if tokens[i] != s || tokens[256+i] != s+wordEnd {
			return false
		}
	}
	_, merges, found := bytes.Cut(merges, newline) // the line "#version"
	for i := 0; i < n && found; i++ {
		var line []byte
		line, merges, found = bytes.Cut(merges, newline)
		left, right := clipPair(i)
		l, r := tokens[left], tokens[right]
		rest, ok := strings.CutPrefix(tokens[512+i], l)
		if !ok || rest != r || len(line) != len(l)+1+len(r) || string(line[:len(l)]) != l || line[len(l)] != ' ' || string(line[len(l)+1:]) != r {
			return false
		}
	}
	return found && len(merges) == 0
}
