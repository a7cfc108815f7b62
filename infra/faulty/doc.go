// Package faulty wraps an adapter's ports with the failures that a network and
// its stores have: a call that fails before it took effect, one whose answer is
// lost after it did, one that is slow, one that happens twice, messages out of
// order, bodies that break off. It is for tests of what is built on the ports; the
// wrapped adapter keeps every promise of package infra, these are just the ones
// that are easily forgotten.
//
// What happens to the n-th call of an operation follows from the seed, the
// operation's name and n, so a run with one goroutine repeats exactly, and one
// with several meets the same faults in another mixture.
package faulty
