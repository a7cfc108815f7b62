// Package tokenizer turns prompts into CLIP's token ids: byte-pair encoding over lower-cased text, with the
// vocabulary of a diffusers tokenizer folder ([Load]: vocab.json and merges.txt, or a tokenizer.json) or the one of
// OpenAI's CLIP that is embedded here ([CLIP]).
//
// Text is cut into words by CLIP's pattern, each word into bytes, and neighbouring pieces are merged in the order
// that merges.txt gives (Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units"; Radford
// et al. 2021, CLIP). Placeholder tokens such as <s1> are added with [Tokenizer.AddToken] and found before anything
// else; a [Tokenizer.Clone] shares the vocabulary, so that each job adds its own without touching the base.
//
// There are two modes. [Current] gives the ids of today's transformers (5.x) for every case known to us. [Original]
// follows the tokenizer of early 2023, which repaired text with ftfy first: HTML entities, curly quotes, full-width
// letters, wrongly decoded UTF-8. Old files were trained with that one. testdata/cases.json.gz holds what both gave.
//
// Emphasis syntax such as "(word:1.3)" has no meaning here.
package tokenizer
