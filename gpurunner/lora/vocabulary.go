package lora

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Vocabulary is the tokens of several sets joined, under the names that the
// original's inference gives them: vector j of set i is "<si-j>", the tokens of
// a set sorted by name. They take the ids behind the tokeniser's vocabulary, in
// the order of Names.
type Vocabulary struct {
	Names []string
	// Rows are the embeddings for each text encoder, one a name.
	Rows [][][]float32 // [encoder][name][width]

	files  []string
	counts []int // vectors of each set
	// own maps the tokens' own names to joined ones, where no two sets have
	// the same.
	own map[string]string
}

// Join makes the vocabulary of the sets that are to be mounted, in the order in
// which prompts count them.
func Join(sets ...*Set) *Vocabulary {
	v := &Vocabulary{own: map[string]string{}}
	twice := map[string]bool{}
	for i, s := range sets {
		v.files = append(v.files, s.Name)
		j := 0
		for _, t := range sortedTokens(s.Tokens) {
			var names strings.Builder
			for e, rows := range t.Rows {
				for len(v.Rows) <= e {
					v.Rows = append(v.Rows, nil)
				}
				v.Rows[e] = append(v.Rows[e], rows...)
			}
			for range t.Rows[0] {
				name := fmt.Sprintf("<s%d-%d>", i, j)
				v.Names = append(v.Names, name)
				names.WriteString(name)
				j++
			}
			twice[t.Name] = twice[t.Name] || v.own[t.Name] != ""
			v.own[t.Name] = names.String()
		}
		v.counts = append(v.counts, j)
	}
	for name := range twice {
		if twice[name] || !angled.MatchString(name) {
			delete(v.own, name)
		}
	}
	return v
}

func sortedTokens(tokens []Token) []Token {
	return slices.SortedFunc(slices.Values(tokens), func(a, b Token) int { return strings.Compare(a.Name, b.Name) })
}

var (
	reference = regexp.MustCompile(`<([0-9]+)>`)
	angled    = regexp.MustCompile(`^<[^<>]*[^<>0-9][^<>]*>$`)
	bracketed = regexp.MustCompile(`<[^<>]+>`)
)

// Expand writes a prompt in joined names: "<2>" becomes "<s1-0><s1-1>", and so
// does a token's own name, such as "<neon>", where one set alone has it. "<2>"
// of a set without tokens becomes nothing; dropped lists such numbers, for the
// log. A number beyond the sets is an error, of which the prompt's name is the
// subject. Without any sets prompts are left as they are, and dropped lists all
// of their numbers.
func (v *Vocabulary) Expand(prompt string) (expanded string, dropped []int, err error) {
	if len(v.counts) == 0 {
		for _, m := range reference.FindAllStringSubmatch(prompt, -1) {
			if n, err := strconv.Atoi(m[1]); err == nil && !slices.Contains(dropped, n) {
				dropped = append(dropped, n)
			}
		}
		return prompt, dropped, nil
	}
	expanded = bracketed.ReplaceAllStringFunc(prompt, func(found string) string {
		m := reference.FindStringSubmatch(found)
		if m == nil {
			if own := v.own[found]; own != "" {
				return own
			}
			return found
		}
		n, convErr := strconv.Atoi(m[1])
		if convErr != nil || n < 1 || n > len(v.counts) {
			if err == nil {
				err = fmt.Errorf("has %s, but %s", found, mountedText(len(v.counts)))
			}
			return found
		}
		if v.counts[n-1] == 0 && !slices.Contains(dropped, n) {
			dropped = append(dropped, n)
		}
		var names strings.Builder
		for j := range v.counts[n-1] {
			fmt.Fprintf(&names, "<s%d-%d>", n-1, j)
		}
		return names.String()
	})
	if err != nil {
		return "", nil, err
	}
	return expanded, dropped, nil
}

func mountedText(n int) string {
	if n == 1 {
		return "there is one LoRA file, <1>"
	}
	return fmt.Sprintf("there are %d LoRA files, <1> to <%d>", n, n)
}

// File is the name of the set that "<n>" stands for, for messages.
func (v *Vocabulary) File(n int) string { return v.files[n-1] }
