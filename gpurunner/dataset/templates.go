package dataset

import "strings"

// The sentences of textual inversion (Gal et al. 2022, arXiv:2208.01618) as the
// pivotal tuning trainer of February 2023 draws from them; "{}" is the concept.
// Their order decides which one a draw picks. Style has one sentence twice.
var (
	objectTemplates = []string{
		"a photo of a {}",
		"a rendering of a {}",
		"a cropped photo of the {}",
		"the photo of a {}",
		"a photo of a clean {}",
		"a photo of a dirty {}",
		"a dark photo of the {}",
		"a photo of my {}",
		"a photo of the cool {}",
		"a close-up photo of a {}",
		"a bright photo of the {}",
		"a cropped photo of a {}",
		"a photo of the {}",
		"a good photo of the {}",
		"a photo of one {}",
		"a close-up photo of the {}",
		"a rendition of the {}",
		"a photo of the clean {}",
		"a rendition of a {}",
		"a photo of a nice {}",
		"a good photo of a {}",
		"a photo of the nice {}",
		"a photo of the small {}",
		"a photo of the weird {}",
		"a photo of the large {}",
		"a photo of a cool {}",
		"a photo of a small {}",
	}
	styleTemplates = []string{
		"a painting in the style of {}",
		"a rendering in the style of {}",
		"a cropped painting in the style of {}",
		"the painting in the style of {}",
		"a clean painting in the style of {}",
		"a dirty painting in the style of {}",
		"a dark painting in the style of {}",
		"a picture in the style of {}",
		"a cool painting in the style of {}",
		"a close-up painting in the style of {}",
		"a bright painting in the style of {}",
		"a cropped painting in the style of {}",
		"a good painting in the style of {}",
		"a close-up painting in the style of {}",
		"a rendition in the style of {}",
		"a nice painting in the style of {}",
		"a small painting in the style of {}",
		"a weird painting in the style of {}",
		"a large painting in the style of {}",
	}
)

// Template is a family of sentences about a concept.
type Template string

// The families, by their names in the trainers' input use_template.
const (
	TemplateObject Template = "object"
	TemplateStyle  Template = "style"
	TemplateNone   Template = "none" // the pictures' own captions
)

// Sentences lists the family's sentences, "{}" standing for the concept; none
// for TemplateNone and unknown families.
func (t Template) Sentences() []string {
	switch t {
	case TemplateObject:
		return append([]string(nil), objectTemplates...)
	case TemplateStyle:
		return append([]string(nil), styleTemplates...)
	}
	return nil
}

// Fill puts the concept into a sentence.
func Fill(sentence, concept string) string { return strings.ReplaceAll(sentence, "{}", concept) }
