package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/lowrank/lowrank/gpurunner/paritytest"
)

// asSingle is a tokenizer folder as transformers 5 saves it: the vocabulary and merges in a tokenizer.json, the names of
// the special tokens in tokenizer_config.json. Merges are pairs, or texts as before tokenizers 0.20.
func asSingle(t testing.TB, folder fs.FS, pairs bool) fstest.MapFS {
	t.Helper()
	read := func(name string) []byte {
		b, err := fs.ReadFile(folder, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return b
	}
	var vocab map[string]int
	if err := json.Unmarshal(read("vocab.json"), &vocab); err != nil {
		t.Fatal(err)
	}
	merges := []any{}
	err := parseMerges(read("merges.txt"), func(left, right []byte) error {
		if pairs {
			merges = append(merges, []string{string(left), string(right)})
		} else {
			merges = append(merges, string(left)+" "+string(right))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// What is not there is as in a CLIP tokenizer without a configuration.
	var config struct {
		Pad    tokenName `json:"pad_token"`
		Length any       `json:"model_max_length"`
	}
	if c := read("tokenizer_config.json"); c != nil {
		if err := json.Unmarshal(c, &config); err != nil {
			t.Fatal(err)
		}
	}
	if config.Pad == "" {
		config.Pad = endOfText
	}
	bos, eos := vocab[startOfText], vocab[endOfText]
	added := []any{}
	for _, s := range slices.Sorted(maps.Keys(map[string]bool{startOfText: true, endOfText: true, string(config.Pad): true})) {
		added = append(added, map[string]any{"id": vocab[s], "content": s, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
	}
	whole := map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added,
		"normalizer":     map[string]any{"type": "Sequence"},
		"post_processor": map[string]any{"type": "RobertaProcessing", "sep": []any{endOfText, eos}, "cls": []any{startOfText, bos}, "trim_offsets": false, "add_prefix_space": false},
		"model": map[string]any{"type": "BPE", "dropout": nil, "unk_token": endOfText, "continuing_subword_prefix": "", "end_of_word_suffix": wordEnd,
			"fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": merges},
	}
	return fstest.MapFS{
		singleFile: {Data: encode(t, whole)},
		"tokenizer_config.json": {Data: encode(t, map[string]any{"backend": "tokenizers", "tokenizer_class": "CLIPTokenizer", "model_max_length": config.Length,
			"bos_token": startOfText, "eos_token": endOfText, "unk_token": endOfText, "pad_token": config.Pad})},
	}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestSingle: a tokenizer.json gives the ids that vocab.json and merges.txt give, for every base's vocabulary, padding
// by the end token and, as SD 2 and the second one of SDXL, by "!".
func TestSingle(t *testing.T) {
	folders := map[string]fs.FS{"small": small(), "CLIP": clipFolder(t), "embedded": os.DirFS("../base/embedded/model/tokenizer")}
	for _, root := range paritytest.Roots(t) {
		for _, model := range []string{"sd15-tiny", "sd21-tiny", "sdxl-tiny"} {
			for _, part := range []string{"tokenizer", "tokenizer_2"} {
				if path := "models/" + model + "/" + part; root.Has(path + "/vocab.json") {
					folders[root.Name+"/"+path] = os.DirFS(root.Path(path))
				}
			}
		}
	}
	var texts []string
	for _, name := range []string{"cases.json.gz", "cases_tiny.json"} {
		for _, c := range readCases(t, filepath.Join("testdata", name)).Cases {
			texts = append(texts, c.Text)
		}
	}
	texts = append(texts, "", "ab aab !", "wow!!! <|endoftext|> <|startoftext|>!", "\xff\xfe")
	pads := map[bool]int{}
	for name, folder := range folders {
		want, err := Load(folder)
		if err != nil {
			t.Fatal(err)
		}
		pads[want.Pad() == want.EOS()]++
		for _, pairs := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				got, err := Load(asSingle(t, folder, pairs))
				if err != nil {
					t.Fatal(err)
				}
				sameVocabulary(t, got, want)
				if got.BOS() != want.BOS() || got.EOS() != want.EOS() || got.Pad() != want.Pad() || got.MaxLength() != want.MaxLength() || got.unknown != want.unknown {
					t.Errorf("special tokens %d %d %d %d, length %d; want %d %d %d %d, %d", got.BOS(), got.EOS(), got.Pad(), got.unknown, got.MaxLength(),
						want.BOS(), want.EOS(), want.Pad(), want.unknown, want.MaxLength())
				}
				if name == "CLIP" && got.bpe != clipVocabulary() {
					t.Error("CLIP's vocabulary was built again")
				}
				for _, text := range texts {
					if g, w := got.Encode(text), want.Encode(text); !slices.Equal(g, w) {
						t.Fatalf("%q: got %v, want %v", text, g, w)
					}
				}
			})
		}
	}
	if pads[true] == 0 || pads[false] == 0 {
		t.Errorf("%d vocabularies pad by the end token and %d otherwise", pads[true], pads[false])
	}
}

// TestSingleAlone: without the configuration the file itself says what the special tokens are, and has the trained ones.
func TestSingleAlone(t *testing.T) {
	files := asSingle(t, small(), true)
	delete(files, "tokenizer_config.json")
	change := func(change func(whole map[string]any)) fstest.MapFS {
		var whole map[string]any
		if err := json.Unmarshal(files[singleFile].Data, &whole); err != nil {
			t.Fatal(err)
		}
		change(whole)
		return fstest.MapFS{singleFile: {Data: encode(t, whole)}}
	}
	for _, tt := range []struct {
		name          string
		change        func(whole map[string]any)
		bos, eos, pad int
		ids           []int // of "<s1>a"
	}{
		{"Plain", func(map[string]any) {}, 8, 9, 9, nil},
		{"Post", func(w map[string]any) {
			w["post_processor"] = map[string]any{"cls": []any{"!", 0}, "sep": []any{startOfText, 8}}
		}, 0, 8, 8, nil},
		{"NoPost", func(w map[string]any) { w["post_processor"] = nil }, 8, 9, 9, nil},
		{"Padding", func(w map[string]any) { w["padding"] = map[string]any{"pad_id": 0, "pad_token": "!"} }, 8, 9, 0, nil},
		{"Added", func(w map[string]any) {
			w["added_tokens"] = append(w["added_tokens"].([]any), map[string]any{"id": 10, "content": "<s1>", "special": false})
		}, 8, 9, 9, []int{8, 10, 3, 9}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tok, err := Load(change(tt.change))
			if err != nil {
				t.Fatal(err)
			}
			if tok.BOS() != tt.bos || tok.EOS() != tt.eos || tok.Pad() != tt.pad {
				t.Errorf("got %d %d %d, want %d %d %d", tok.BOS(), tok.EOS(), tok.Pad(), tt.bos, tt.eos, tt.pad)
			}
			if got := tok.Encode("<s1>a"); tt.ids != nil && !slices.Equal(got, tt.ids) {
				t.Errorf("got %v, want %v", got, tt.ids)
			}
		})
	}
}

const goodSingle = `{"model": {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": {"a": 0, "b</w>": 1, "ab</w>": 2, "<|startoftext|>": 3, "<|endoftext|>": 4}, "merges": [["a", "b</w>"]]}}`

// brokenSingle are faults of goodSingle: old is replaced by text.
var brokenSingle = []struct{ name, old, text, want string }{
	{"Empty", goodSingle, "", "tokenizer.json, line 1: unexpected end"},
	{"NotJSON", goodSingle, "{\n\nx", "tokenizer.json, line 3: invalid character"},
	{"NotUTF8", `"a"`, "\"\xff\"", "not UTF-8"},
	{"NoModel", goodSingle, "{}", "it has no model"},
	{"WordPiece", "BPE", "WordPiece", `its model is "WordPiece"`},
	{"GPT2", `"end_of_word_suffix": "</w>", `, "", `it marks the end of a word by ""`},
	{"IgnoreMerges", `"type"`, `"ignore_merges": true, "type"`, "ignore_merges"},
	{"NoVocab", `"vocab"`, `"vocabulary"`, "has no vocab"},
	{"NoMerges", `"merges"`, `"pairs"`, "has no merges"},
	{"VocabList", `{"a": 0,`, `{"a": "b",`, "vocab: the id of token"},
	{"VocabGap", `{"a": 0,`, `{"a": 7,`, "without a gap"},
	{"MergesNumber", `[["a", "b</w>"]]`, "3", "want a list"},
	{"MergesThree", `["a", "b</w>"]`, `["a", "b</w>", "c"]`, "merge 1: want two symbols"},
	{"MergesOne", `["a", "b</w>"]`, `"ab</w>"`, "merge 1: want two symbols"},
	{"MergesSpace", `["a", "b</w>"]`, `["a", "b</w> "]`, "merge 1: want two symbols"},
	{"MergesLine", `["a", "b</w>"]`, `["a", "b\n</w>"]`, "merge 1: want two symbols"},
	{"MergesUnknown", `[["a", "b</w>"]]`, `["a b</w>", "a z"]`, `merge 2: "z" is not in the vocabulary`},
	{"NoSpecials", "endoftext", "ende", `the eos_token "<|endoftext|>" is not in the vocabulary`},
	{"Post", `{"model"`, `{"post_processor": {"cls": 3}, "model"`, "post_processor: want a token and its id"},
	{"AddedGap", `{"model"`, `{"added_tokens": [{"id": 9, "content": "<s1>"}], "model"`, "has the id 9 where 5 is the next free one"},
}

func TestSingleErrors(t *testing.T) {
	if _, err := Load(fstest.MapFS{singleFile: {Data: []byte(goodSingle)}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range brokenSingle {
		t.Run("Err"+c.name, func(t *testing.T) {
			text := strings.Replace(goodSingle, c.old, c.text, 1)
			_, err := Load(fstest.MapFS{singleFile: {Data: []byte(text)}})
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
	if _, err := Load(fstest.MapFS{}); err == nil || !strings.Contains(err.Error(), "vocab.json") || !strings.Contains(err.Error(), singleFile) {
		t.Errorf("an empty folder: %v", err)
	}
}

func FuzzSingle(f *testing.F) {
	f.Add([]byte(goodSingle), "ab <s1>")
	f.Add(asSingle(f, small(), false)[singleFile].Data, "aab ba!")
	for _, c := range brokenSingle {
		f.Add([]byte(strings.Replace(goodSingle, c.old, c.text, 1)), "ab")
	}
	f.Fuzz(func(t *testing.T, whole []byte, text string) {
		tok, err := Load(fstest.MapFS{singleFile: {Data: whole}})
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			return
		}
		checkIDs(t, tok, text)
	})
}
