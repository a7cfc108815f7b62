//go:build !cuda

package pick

const built = false
