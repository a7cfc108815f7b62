//go:build !amd64 || purego

package kernel

func machinePairs() []*Pairs { return nil }
