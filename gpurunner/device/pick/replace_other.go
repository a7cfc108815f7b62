//go:build !unix

package pick

import "errors"

func replace(string, []string, []string) error {
	return errors.New("programs cannot be replaced on this system")
}
