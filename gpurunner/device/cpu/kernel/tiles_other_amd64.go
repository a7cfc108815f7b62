//go:build !purego && !linux

package kernel

// permitTiles: how other systems grant tiles is not known here.
func permitTiles() bool { return false }
