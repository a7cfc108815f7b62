// Command measured writes the tables of figures in README.md and docs/*.md from docs/measured/*.json, which
// scripts/bench and scripts/newcomer leave behind. No figure is typed in: a test holds the pages to the files.
//
// A page says which rows it wants, in a comment before the table:
//
//	<!-- measured: service; products/geometric mean -->
//	<!-- /measured -->
//
// Each item is a file's name without .json, or that and the beginning of a row's name; semicolons part them.
package main
