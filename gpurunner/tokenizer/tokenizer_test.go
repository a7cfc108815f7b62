package tokenizer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

func TestAddToken(t *testing.T) {
	base := CLIP()
	tok := base.Clone()
	for i, text := range []string{"<s1>", "<s2>", "<S3>", "two words"} {
		if id, err := tok.AddToken(text); err != nil || id != 49408+i {
			t.Errorf("AddToken(%q) = %d, %v", text, id, err)
		}
	}
	for _, c := range []struct {
		name, text string
		want       int
	}{
		{"Again", "<s1>", 49408},
		{"InVocabulary", "cat</w>", 2368},
		{"Special", "<|endoftext|>", 49407},
	} {
		t.Run(c.name, func(t *testing.T) {
			if id, err := tok.AddToken(c.text); err != nil || id != c.want {
				t.Errorf("got %d, %v, want %d", id, err, c.want)
			}
			if tok.Len() != 49412 {
				t.Errorf("Len is %d", tok.Len())
			}
		})
	}
	for _, text := range []string{"", " \n", "\xff"} {
		if _, err := tok.AddToken(text); err == nil {
			t.Errorf("AddToken(%q) was accepted", text)
		}
	}
	if got, want := tok.Encode("Two \t WORDS<s3>"), []int{49406, 49411, 49410, 49407}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if base.Len() != 49408 || slices.Contains(base.Encode("<s1>"), 49408) {
		t.Error("the clone's tokens are in the base")
	}
	if id, ok := tok.TokenID("<s2>"); !ok || id != 49409 {
		t.Errorf("TokenID: got %d, %v", id, ok)
	}
}

func TestLongestAddedTokenWins(t *testing.T) {
	tok := CLIP()
	short, _ := tok.AddToken("<s1")
	long, _ := tok.AddToken("<s1>")
	if got := tok.Encode("<s1><s1 "); !slices.Equal(got, []int{tok.BOS(), long, short, tok.EOS()}) {
		t.Errorf("got %v", got)
	}
}

func TestDecode(t *testing.T) {
	tok := CLIP()
	tok.AddToken("<s1>")
	for text, want := range map[string]string{
		"A photo of a CAT":   "a photo of a cat",
		"café 猫":             "café 猫",
		"<s1> in the style!": "<s1> in the style !",
		"":                   "",
	} {
		if got := tok.Decode(tok.Encode(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got := tok.Decode([]int{-1, 1 << 30, 2368}); got != "cat" {
		t.Errorf("ids out of range: got %q", got)
	}
}

func TestPaddedLengths(t *testing.T) {
	tok := CLIP()
	for n := -1; n < 6; n++ {
		got := tok.EncodePadded("a cat sat", n)
		if len(got) != max(n, 0) {
			t.Errorf("n = %d: %d ids", n, len(got))
		}
		if n > 0 && n < 6 && got[n-1] != int32(tok.EOS()) {
			t.Errorf("n = %d: got %v", n, got)
		}
	}
}

func TestConcurrentEncoding(t *testing.T) {
	tok := CLIP()
	want := tok.Encode("a photo of an astronaut riding a horse on mars")
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 200 {
				if got := tok.Encode("a photo of an astronaut riding a horse on mars"); !slices.Equal(got, want) {
					t.Error("ids differ between goroutines")
					return
				}
			}
		})
	}
	wait.Wait()
}

// small is the files of a vocabulary of a few words.
func small() fstest.MapFS {
	tokens := []string{"!", "a", "b", "a</w>", "b</w>", "ab", "ab</w>", "aab</w>", startOfText, endOfText}
	var vocab []string
	for i, s := range tokens {
		vocab = append(vocab, fmt.Sprintf("%q: %d", s, i))
	}
	return fstest.MapFS{
		"vocab.json":            {Data: []byte("{\n" + strings.Join(vocab, ",\n") + "\n}\n")},
		"merges.txt":            {Data: []byte("#version: 0.2\na b</w>\na b\na ab</w>\n")},
		"tokenizer_config.json": {Data: []byte(`{"pad_token": {"content": "!"}, "model_max_length": 12, "bos_token": null}`)},
	}
}

func TestLoadSmall(t *testing.T) {
	files := small()
	tok, err := Load(files)
	if err != nil {
		t.Fatal(err)
	}
	if tok.Pad() != 0 || tok.MaxLength() != 12 || tok.BOS() != 8 || tok.EOS() != 9 || tok.Len() != 10 {
		t.Errorf("got pad %d, length %d, bos %d, eos %d, %d tokens", tok.Pad(), tok.MaxLength(), tok.BOS(), tok.EOS(), tok.Len())
	}
	for text, want := range map[string][]int{
		"ab":     {8, 6, 9},
		"aab":    {8, 7, 9},
		"aba":    {8, 5, 3, 9},
		"x":      {8, 9, 9},       // an unknown byte is the end token
		"a!b":    {8, 3, 0, 4, 9}, // the padding token is one wherever it stands
		"ab! !b": {8, 6, 0, 0, 4, 9},
	} {
		if got := tok.Encode(text); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
	files["added_tokens.json"] = &fstest.MapFile{Data: []byte(`{"<s1>": 10, "<s2>": 11}`)}
	if tok, err = Load(files); err != nil {
		t.Fatal(err)
	}
	if got := tok.Encode("<s2>a"); !slices.Equal(got, []int{8, 11, 3, 9}) {
		t.Errorf("added_tokens.json: got %v", got)
	}
	delete(files, "added_tokens.json")
	files["tokenizer_config.json"] = &fstest.MapFile{Data: []byte(`{"added_tokens_decoder": {"8": {"content": "<|startoftext|>", "special": true},
		"9": {"content": "<|endoftext|>", "special": true}, "10": {"content": "<s1>", "special": false}}, "pad_token": "<|endoftext|>"}`)}
	if tok, err = Load(files); err != nil {
		t.Fatal(err)
	}
	if got := tok.Encode("<s1>a"); !slices.Equal(got, []int{8, 10, 3, 9}) || tok.Len() != 11 {
		t.Errorf("added_tokens_decoder: got %v", got)
	}
}

// broken are the files of a tokenizer folder with one fault each; want is a part of the sentence it must give. They are
// seeds of FuzzLoad too.
var broken = []struct {
	name, file, text, want string
}{
	{"VocabMissing", "vocab.json", "", "vocab.json"},
	{"MergesMissing", "merges.txt", "", "merges.txt"},
	{"VocabNotObject", "vocab.json", "[]", "vocab.json, line 1: want a JSON object"},
	{"VocabEmpty", "vocab.json", "{}", "has no tokens"},
	{"VocabCut", "vocab.json", "{\"a\": 0,\n\"b", "vocab.json, line 2: the file ends inside a token"},
	{"VocabNoID", "vocab.json", "{\"a\": 0,\n\n\"b\": x}", "vocab.json, line 3: the id of token \"b\" is not a whole number"},
	{"VocabNegativeID", "vocab.json", `{"a": -1}`, "not a whole number"},
	{"VocabFraction", "vocab.json", `{"a": 0.5}`, "want a comma"},
	{"VocabHugeID", "vocab.json", `{"a": 99999999999999999999999}`, "is above 1048576"},
	{"VocabIDTwice", "vocab.json", `{"a": 0, "b": 0}`, "the id 0 is given twice"},
	{"VocabTokenTwice", "vocab.json", `{"a": 0, "a": 1}`, "lists a token twice"},
	{"VocabGap", "vocab.json", `{"a": 0, "b": 2}`, "without a gap"},
	{"VocabNoColon", "vocab.json", `{"a" 0}`, "want a colon"},
	{"VocabNoQuote", "vocab.json", `{a: 0}`, "want a token in quotes"},
	{"VocabTrailingComma", "vocab.json", `{"a": 0,}`, "want a token in quotes"},
	{"VocabTrailing", "vocab.json", `{"a": 0} x`, "something follows"},
	{"VocabNewlineInToken", "vocab.json", "{\"a\nb\": 0}", "control character"},
	{"VocabBadEscape", "vocab.json", `{"\q": 0}`, "not a JSON string"},
	{"VocabEscapedNewline", "vocab.json", "{\"a\\\n\": 0}", `the token "\"a\\\n\"" is not a JSON string`},
	{"ConfigTokenLines", "tokenizer_config.json", "{\"pad_token\": [1,\n2]}", `got "[1,\n2]"`},
	{"VocabNotUTF8", "vocab.json", "{\"\xff\": 0}", "not UTF-8"},
	{"VocabNul", "vocab.json", "\x00", "want a JSON object"},
	{"VocabNoSpecials", "vocab.json", `{"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab": 4, "ab</w>": 5, "aab</w>": 6, "!": 7}`, `the bos_token "<|startoftext|>" is not in the vocabulary`},
	{"MergeOneSymbol", "merges.txt", "#version: 0.2\na b\nab\n", "merges.txt, line 3: want two symbols"},
	{"MergeThreeSymbols", "merges.txt", "a b a\n", "merges.txt, line 1: want two symbols"},
	{"MergeUnknownLeft", "merges.txt", "z b\n", `merges.txt, line 1: "z" is not in the vocabulary`},
	{"MergeUnknownRight", "merges.txt", "\n\na z\n", `merges.txt, line 3: "z" is not`},
	{"MergeUnknownResult", "merges.txt", "b a\n", `it makes "ba"`},
	{"MergesNotUTF8", "merges.txt", "a \xff\n", "not UTF-8"},
	{"MergesTooMany", "merges.txt", strings.Repeat("a b\n", 11), "more merges than tokens"},
	{"MergesCut", "vocab.json", moreTokens(605), "merges.txt: it makes 3 of the vocabulary's 93 tokens of several bytes: it is cut short"},
	{"ConfigNotJSON", "tokenizer_config.json", "{", "tokenizer_config.json"},
	{"ConfigTokenNumber", "tokenizer_config.json", `{"pad_token": 3}`, "want a token's text"},
	{"ConfigPadUnknown", "tokenizer_config.json", `{"pad_token": "zz"}`, `the pad_token "zz" is not in the vocabulary`},
	{"AddedGap", "added_tokens.json", `{"<s1>": 12}`, "has the id 12 where 10 is the next free one"},
	{"AddedEmpty", "added_tokens.json", `{"": 10}`, "has no text"},
	{"AddedKeyNotID", "tokenizer_config.json", `{"added_tokens_decoder": {"x": {"content": "y"}}}`, "is not an id"},
	{"SpecialMapNotJSON", "special_tokens_map.json", "nope", "special_tokens_map.json"},
}

// moreTokens is small's vocabulary and as many other tokens as n needs.
func moreTokens(n int) string {
	vocab := strings.TrimSuffix(string(small()["vocab.json"].Data), "\n}\n")
	for id := strings.Count(vocab, "\n"); id < n; id++ {
		vocab += fmt.Sprintf(",\n\"word%d\": %d", id, id)
	}
	return vocab + "\n}\n"
}

func TestLoadErrors(t *testing.T) {
	for _, c := range broken {
		t.Run(c.name, func(t *testing.T) {
			files := small()
			if c.text == "" {
				delete(files, c.file)
			} else {
				files[c.file] = &fstest.MapFile{Data: []byte(c.text)}
			}
			_, err := Load(files)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	good := small()
	for _, c := range broken {
		files := maps.Clone(good)
		files[c.file] = &fstest.MapFile{Data: []byte(c.text)}
		config := files["tokenizer_config.json"].Data
		f.Add(files["vocab.json"].Data, files["merges.txt"].Data, config, "ab <s1>")
	}
	f.Add(good["vocab.json"].Data, good["merges.txt"].Data, good["tokenizer_config.json"].Data, "aab ba!")
	f.Fuzz(func(t *testing.T, vocab, merges, config []byte, text string) {
		tok, err := Load(fstest.MapFS{"vocab.json": {Data: vocab}, "merges.txt": {Data: merges}, "tokenizer_config.json": {Data: config}})
		if err != nil {
			if strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("more than one line: %q", err)
			}
			return
		}
		checkIDs(t, tok, text)
	})
}

func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", "a photo of <s1>", "&amp;amp;", "I â¤ you", "ΣΊΣ", "<|ENDOFTEXT|>", "\xff\xfe", "e\u0301", strings.Repeat("a", 300), "&#0;&LT;&#1114112;", "\x1b[0m", "ﬁ\u3000Ｆ", "'''ll"} {
		f.Add(s)
	}
	current := CLIP()
	current.AddToken("<s1>")
	original := current.WithMode(Original)
	f.Fuzz(func(t *testing.T, text string) {
		checkIDs(t, current, text)
		checkIDs(t, original, text)
	})
}

func checkIDs(t *testing.T, tok *Tokenizer, text string) {
	t.Helper()
	ids := tok.Encode(text)
	if len(ids) < 2 || ids[0] != tok.BOS() || ids[len(ids)-1] != tok.EOS() {
		t.Fatalf("%q: got %v", text, ids)
	}
	for _, id := range ids {
		if id < 0 || id >= tok.Len() {
			t.Fatalf("%q: the id %d is out of range", text, id)
		}
	}
	if got := tok.EncodePadded(text, 77); len(got) != 77 {
		t.Fatalf("%q: %d padded ids", text, len(got))
	}
	tok.Decode(ids)
}

// TestLongWord: the time that a word takes must not grow with the square of its length. There is no limit
// asserted; at a square this test would take minutes.
func TestLongWord(t *testing.T) {
	if got := len(CLIP().Encode(strings.Repeat("ab", 1<<18))); got < 1000 {
		t.Errorf("%d ids", got)
	}
}

const prompt = "portrait of an astronaut riding a horse on mars, highly detailed, trending on artstation, 8k, unreal engine"

func BenchmarkEncode(b *testing.B) {
	tok := CLIP()
	tok.AddToken("<s1>")
	b.ReportAllocs()
	for b.Loop() {
		tok.EncodePadded(prompt, 77)
	}
}

func BenchmarkLoad(b *testing.B) {
	files := clipFolder(b)
	for b.Loop() {
		if _, err := Load(files); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoadAnother(b *testing.B) {
	files := clipFolder(b)
	files["merges.txt"].Data = append(files["merges.txt"].Data, '\n') // no longer byte for byte the published file
	for b.Loop() {
		if _, err := Load(files); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCLIP(b *testing.B) {
	n := len(clipMerges) / 4
	for b.Loop() {
		m := newMergeTable(n)
		for i := range n {
			p := clipMerges[4*i:]
			m.add(int32(p[0])|int32(p[1])<<8, int32(p[2])|int32(p[3])<<8, int32(512+i))
		}
	}
}
