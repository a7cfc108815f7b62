package lora

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// numberedName is a name that cloneofsimo/lora's layout has for factors and their
// ranks.
var numberedName = regexp.MustCompile(`^(unet|text_encoder|text_encoder_2):[0-9]+:(up|down|rank)$`)

// CheckNames refuses names of tokens that a layout has no place for: what Write
// would make of them could not be read again, or would overwrite something else.
func CheckNames(f Format, names []string) error {
	for _, n := range names {
		if why := nameFault(f, n); why != "" {
			return fmt.Errorf("the token %q %s; give it another name, such as <s1>", shorten(n), why)
		}
	}
	return nil
}

// nameFault says what is wrong with a name in a layout; empty for nothing.
func nameFault(f Format, name string) string {
	if strings.HasSuffix(name, secondSuffix) {
		return fmt.Sprintf("ends in %q, which marks the vectors of a second text encoder", secondSuffix)
	}
	switch f {
	case Cloneofsimo:
		// Tokens stand in the metadata beside the lists of layers, and among
		// the tensors beside the factors, under their bare names.
		reserved := []string{string(UNet), string(TextEncoder), string(TextEncoder2), "format", "__metadata__"}
		if slices.Contains(reserved, name) || numberedName.MatchString(name) {
			return fmt.Sprintf("has a name that files of the layout %s use for something else", f)
		}
	case Kohya:
		for _, c := range []struct{ char, called string }{{".", "dot"}, {"/", "slash"}} {
			if strings.Contains(name, c.char) {
				return fmt.Sprintf("has a %s in it, which bundled embeddings cannot have", c.called)
			}
		}
	}
	return ""
}
