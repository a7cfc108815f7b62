// Package likeness measures, with numbers that anyone can compute again, whether
// a training taught what it should: does a picture look like the style that was
// shown ([Style]), and does it still show its subject ([Shape])?
//
// Both are classical statistics of pixels, without a network that has opinions of
// its own. They compare pictures of plain subjects on plain grounds, as the
// embedded base draws them; they are no judges of photographs.
//
// It is for tests and benchmarks. It knows nothing of models.
package likeness
