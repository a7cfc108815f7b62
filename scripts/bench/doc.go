// Command bench measures lowrank beside its peers: the same work, on the same
// machine, in one run, with equal threads, in turns. Each row is the median of
// its runs; a ratio above 1 means that lowrank is better. Before any time
// counts, both sides' results are compared.
//
//	go run ./scripts/bench --python .venv/bin/python --json bench.json
//
// The peers are Python programs in peers/, kept running and asked over pipes;
// peers/requirements.txt pins what they need.
package main
