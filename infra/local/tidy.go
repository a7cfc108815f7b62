package local

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	deadLetterAge = 14 * 24 * time.Hour // as SQS keeps them at most
	changeAge     = 24 * time.Hour      // of changes that no consumer asks for
	orphanAge     = 24 * time.Hour      // of files without entries; longer than any upload
)

// Tidy removes what nobody can ask for any more: old dead letters, changes when
// there is no consumer, and the files that crashes and open readers left behind.
// The server calls it when it starts and every hour. May run at any time, also
// twice at once.
func (s *Store) Tidy(ctx context.Context) error {
	now := s.clock.Now()
	err := s.inTx(ctx, "tidy", "", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM messages WHERE dead = 1 AND sent_ms < ?", now.Add(-deadLetterAge).UnixMilli()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM changes WHERE at_ms < ? AND NOT EXISTS (SELECT 1 FROM consumers)", now.Add(-changeAge).UnixMilli())
		return err
	})
	return errors.Join(err, s.removeOrphans(ctx))
}

// removeOrphans removes blob files that are old and entered nowhere. Their age
// is the file system's, so the machine's clock is what it is compared with.
func (s *Store) removeOrphans(ctx context.Context) error {
	root := filepath.Join(s.dir, "blobs")
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || time.Since(info.ModTime()) < orphanAge {
			return nil // gone meanwhile, or young
		}
		var entered bool
		err = s.read.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM blobs WHERE generation = ?)", d.Name()).Scan(&entered)
		if err != nil {
			return failed("tidy", d.Name(), err)
		}
		if !entered {
			os.Remove(path)
		}
		return nil
	})
}
