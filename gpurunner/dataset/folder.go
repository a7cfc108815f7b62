package dataset

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// listFolder lists the files of a folder and those below it. Links are never
// followed.
func listFolder(root *os.Root, l Limits) ([]file, error) {
	fsys := root.FS()
	var files []file
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && name == ".":
			return err
		case err != nil:
			files = append(files, file{name: name, reason: fmt.Sprintf("it cannot be read: %v", err)})
			return nil
		case d.IsDir():
			return nil
		}
		if len(files) == l.Entries {
			return refuse(ErrTooMany, "the folder holds more than %d files: put the pictures into a folder of their own", l.Entries)
		}
		f := file{name: name}
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			f.reason = "a symbolic link; put the picture itself there"
		case !d.Type().IsRegular():
			f.reason = "not a regular file"
		default:
			info, err := d.Info()
			if err != nil {
				f.reason = fmt.Sprintf("it cannot be read: %v", err)
				break
			}
			f.size = info.Size()
			f.open = func() (io.ReadCloser, error) { return root.Open(name) }
		}
		files = append(files, f)
		return nil
	})
	return files, err
}
