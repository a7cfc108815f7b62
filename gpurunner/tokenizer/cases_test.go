package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/lowrank/lowrank/gpurunner/paritytest"
)

func TestMain(m *testing.M) { paritytest.Main(m) }

// caseFile is cases.json and cases_tiny.json.
type caseFile struct {
	Model       string   `json:"model"` // the tiny model whose vocabulary is meant
	AddedTokens []string `json:"added_tokens"`
	AddedIDs    []int    `json:"added_ids"`
	BOS         int      `json:"bos"`
	EOS         int      `json:"eos"`
	Pad         int      `json:"pad"`
	Cases       []struct {
		Text  string `json:"text"`
		IDs   []int  `json:"ids"` // cases_tiny.json
		New   []int  `json:"new"`
		Old   []int  `json:"old"` // absent where it agrees
		Agree bool   `json:"agree"`
	} `json:"cases"`
}

func readCases(t *testing.T, path string) (c caseFile) {
	t.Helper()
	if err := json.Unmarshal(gunzip(t, path), &c); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if len(c.Cases) == 0 {
		t.Fatalf("%s has no cases", path)
	}
	return c
}

func (c *caseFile) add(t *testing.T, tok *Tokenizer) {
	t.Helper()
	for i, text := range c.AddedTokens {
		if got, err := tok.AddToken(text); err != nil || got != c.AddedIDs[i] {
			t.Fatalf("AddToken(%q) = %d, %v, want %d", text, got, err, c.AddedIDs[i])
		}
	}
}

// caseFiles lists the cases of the real vocabulary: this package's and those of every full set of parity numbers.
func caseFiles(t *testing.T) map[string]string {
	files := map[string]string{"testdata": filepath.Join("testdata", "cases.json.gz")}
	for _, root := range paritytest.Roots(t) {
		if root.Name != "small" {
			files[root.Name] = root.Path("tokenizer/cases.json")
		}
	}
	return files
}

func TestCases(t *testing.T) {
	for set, path := range caseFiles(t) {
		t.Run(set, func(t *testing.T) {
			c := readCases(t, path)
			tok := CLIP()
			c.add(t, tok)
			if tok.BOS() != c.BOS || tok.EOS() != c.EOS || tok.Pad() != c.Pad {
				t.Errorf("special ids: got %d %d %d, want %d %d %d", tok.BOS(), tok.EOS(), tok.Pad(), c.BOS, c.EOS, c.Pad)
			}
			for _, e := range c.Cases {
				if got := tok.Encode(e.Text); !slices.Equal(got, e.New) {
					t.Errorf("%q:\n got %v\nwant %v", e.Text, got, e.New)
				}
				checkPadded(t, tok, e.Text, e.New)
			}
		})
	}
}

// checkPadded holds EncodePadded to rule77 of cases.json.
func checkPadded(t *testing.T, tok *Tokenizer, text string, ids []int) {
	t.Helper()
	want := make([]int32, 0, 77)
	for _, id := range ids[:min(77, len(ids))] {
		want = append(want, int32(id))
	}
	for len(want) < 77 {
		want = append(want, int32(tok.Pad()))
	}
	if len(ids) > 77 {
		want[76] = int32(tok.EOS())
	}
	if got := tok.EncodePadded(text, 77); !slices.Equal(got, want) {
		t.Errorf("%q padded:\n got %v\nwant %v", text, got, want)
	}
}

// TestOriginalCases: the mode Original against the tokenizer of early 2023, with ftfy.
func TestOriginalCases(t *testing.T) {
	for set, path := range caseFiles(t) {
		t.Run(set, func(t *testing.T) {
			c := readCases(t, path)
			tok := CLIP().WithMode(Original)
			c.add(t, tok)
			differ, right := 0, 0
			for _, e := range c.Cases {
				want := e.Old
				if e.Agree {
					want = e.New
				} else if want == nil {
					continue // made without the original stack
				}
				got := tok.Encode(e.Text)
				if !slices.Equal(got, want) {
					t.Errorf("%q:\n got %v\nwant %v", e.Text, got, want)
				}
				if !e.Agree {
					differ++
					if slices.Equal(got, want) {
						right++
					}
				}
			}
			t.Logf("%d of the %d texts in which the two tokenizers differ", right, differ)
		})
	}
}

// TestTinyCases: each set's texts under the tokenizer of that set's model, this package's under the embedded set's.
func TestTinyCases(t *testing.T) {
	for _, root := range paritytest.Roots(t) {
		path := root.Path("tokenizer/cases_tiny.json")
		if root.Name == "small" {
			path = filepath.Join("testdata", "cases_tiny.json")
		}
		t.Run(root.Name, func(t *testing.T) {
			c := readCases(t, path)
			tok, err := Load(os.DirFS(root.Path("models/" + c.Model + "/tokenizer")))
			if err != nil {
				t.Fatal(err)
			}
			c.add(t, tok)
			for _, e := range c.Cases {
				if got := tok.Encode(e.Text); !slices.Equal(got, e.IDs) {
					t.Errorf("%q:\n got %v\nwant %v", e.Text, got, e.IDs)
				}
			}
		})
	}
}

// TestPromptIDs: the ids that the text encoders' fixtures were given, for every model's tokenizer; SD 2's pads with
// "!", and so reads one in the text as padding too.
func TestPromptIDs(t *testing.T) {
	for _, root := range paritytest.Roots(t) {
		for _, c := range root.Cases(t, "clip") {
			t.Run(root.Name+"/"+c.Name(), func(t *testing.T) {
				prompts, _ := c.Meta["prompts"].([]any)
				ids := c.Tensor(t, "input_ids")
				model, folder := c.Base, "tokenizer"
				if m, ok := strings.CutSuffix(model, ".text_encoder_2"); ok {
					model, folder = m, "tokenizer_2"
				}
				tok, err := Load(os.DirFS(root.Path("models/" + model + "/" + folder)))
				if err != nil {
					t.Fatal(err)
				}
				n := ids.Shape[len(ids.Shape)-1]
				for i, p := range prompts {
					got := tok.EncodePadded(p.(string), n)
					for j, id := range got {
						if want := int32(ids.I64[i*n+j]); id != want {
							t.Errorf("%q: id %d is %d, want %d", p, j, id, want)
							break
						}
					}
				}
			})
		}
	}
}

// TestPublishedVocabulary: vocab.json as published, of a full set, loads to the embedded vocabulary.
func TestPublishedVocabulary(t *testing.T) {
	found := false
	for _, root := range paritytest.Roots(t) {
		if !root.Has("tokenizer/vocab.json.gz") {
			continue
		}
		found = true
		tok, err := Load(fstest.MapFS{
			"vocab.json":              {Data: gunzip(t, root.Path("tokenizer/vocab.json.gz"))},
			"merges.txt":              {Data: gunzip(t, root.Path("tokenizer/merges.txt.gz"))},
			"tokenizer_config.json":   {Data: gunzip(t, root.Path("tokenizer/tokenizer_config.json"))},
			"special_tokens_map.json": {Data: gunzip(t, root.Path("tokenizer/special_tokens_map.json"))},
		})
		if err != nil {
			t.Fatal(err)
		}
		sameVocabulary(t, tok, CLIP())
	}
	if !found {
		t.Skip("no full set of parity numbers: LOWRANK_PARITY names none (TestClipMerges checks the merges)")
	}
}
