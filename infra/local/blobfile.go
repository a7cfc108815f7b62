package local

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/lowrank/lowrank/infra"
)

// blobFile is the durable file of one generation, not yet entered.
type blobFile struct {
	generation  string
	size        int64
	md5, sha256 string // hex
}

// blobPath is where the file of a generation lies. The name is random, so keys
// may hold anything.
func (s *Store) blobPath(generation string) string {
	return filepath.Join(s.dir, "blobs", generation[:min(2, len(generation))], generation)
}

// writeBlobFile copies body into a new file under its final name and makes it
// durable; on failure nothing stays. maxSize 0 is no limit.
func (s *Store) writeBlobFile(ctx context.Context, body io.Reader, maxSize int64) (file blobFile, err error) {
	file.generation = randomID(16)
	tmp := filepath.Join(s.dir, "blobs", "tmp", file.generation)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return file, err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(tmp)
		}
	}()
	if file.size, file.md5, file.sha256, err = copyHashed(ctx, f, body, maxSize); err != nil {
		return file, err
	}
	if err = f.Sync(); err != nil {
		return file, err
	}
	if err = f.Close(); err != nil {
		return file, err
	}
	path := s.blobPath(file.generation)
	if err = os.Mkdir(filepath.Dir(path), 0o700); err == nil {
		err = syncDir(filepath.Join(s.dir, "blobs"))
	} else if errors.Is(err, os.ErrExist) {
		err = nil
	}
	if err != nil {
		return file, err
	}
	if err = os.Rename(tmp, path); err != nil {
		return file, err
	}
	if syncErr := syncDir(filepath.Dir(path)); syncErr != nil {
		os.Remove(path)
		return file, syncErr
	}
	return file, nil
}

// copyHashed copies src to dst in small pieces, so that memory stays flat and
// the end of ctx is noticed, and returns the size and both hashes in hex.
func copyHashed(ctx context.Context, dst io.Writer, src io.Reader, maxSize int64) (size int64, md, sha string, err error) {
	// MD5 is what S3 puts in an ETag; nothing here trusts it.
	m, h := md5.New(), sha256.New()
	buf := make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return size, "", "", err
		}
		n, rerr := src.Read(buf)
		if size += int64(n); maxSize > 0 && size > maxSize {
			return size, "", "", tooLarge("blobs.Put", "", size, maxSize)
		}
		m.Write(buf[:n])
		h.Write(buf[:n])
		if _, err := dst.Write(buf[:n]); err != nil {
			return size, "", "", err
		}
		if rerr == io.EOF {
			return size, hex.EncodeToString(m.Sum(nil)), hex.EncodeToString(h.Sum(nil)), nil
		}
		if rerr != nil {
			return size, "", "", &infra.Error{Op: "blobs.Put: read body", Kind: infra.KindOf(rerr), Err: rerr}
		}
	}
}
