// Package jpeg decodes JPEG pictures (ITU-T T.81: baseline, extended and progressive Huffman, 8 bits) to their component
// planes, to the bit as libjpeg does with its default, accurate integer transform.
//
// The standard library's decoder rounds its inverse transform otherwise, and hides the planes' sampling. A
// difference of one in brightness and one in colour makes three in blue; pictures to train on should not differ from what
// everybody else's training reads. Interpolation of the colour planes and the way to RGB are imageops'.
//
// It is strict: damaged data is an error, never a panic, and never a half picture.
package jpeg
