package lora

// Convert reads the file in, of any layout, and writes it to out in layout f.
// It returns the set, whose Unused names the keys that did not come along.
// Metadata do not come along either. bases are models beside those of Known
// that the file may belong to.
func Convert(in, out string, f Format, bases ...*Base) (*Set, error) {
	set, err := OpenAny(in, bases...)
	if err != nil {
		return nil, err
	}
	return set, WriteFile(out, set, f)
}
