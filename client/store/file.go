package store

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// bucket holds the records. Its name tells our files from others of the same kind.
var bucket = []byte("mqlab session 1")

// LockTimeout is how long Open waits for a file that another process holds.
const LockTimeout = 2 * time.Second

// File is a store in one file (bbolt). What Commit has taken outlives a crash of the machine.
type File struct {
	db   *bbolt.DB
	path string
}

// Open opens a store, and makes it if there is none. A file that is damaged, belongs to another program or is
// used by another process is refused, and not changed.
func Open(path string) (*File, error) { return open(path, LockTimeout) }

func open(path string, patience time.Duration) (_ *File, err error) {
	info, err := os.Stat(path)
	fresh := errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0
	switch {
	case err != nil && !fresh:
		return nil, fmt.Errorf("open the session store: %w", err)
	case !fresh && !info.Mode().IsRegular():
		return nil, fmt.Errorf("open the session store %s: it is no file", path)
	}
	defer guard(path, &err)()
	if !fresh {
		// Nothing but the head is read here. What is looked for is the lock, under which the file can be checked.
		ro, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: patience, ReadOnly: true})
		if err != nil {
			return nil, refused(path, err)
		}
		err = checkPages(path)
		_ = ro.Close()
		if err != nil {
			return nil, damaged(path, err)
		}
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: patience, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, refused(path, err)
	}
	f := &File{db, path}
	if fresh {
		err = db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(bucket)
			return err
		})
	} else {
		err = f.verify()
	}
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return f, nil
}

// verify tells our files from those of other programs.
func (f *File) verify() error {
	return f.db.View(func(tx *bbolt.Tx) error {
		if tx.Bucket(bucket) == nil {
			return fmt.Errorf("open the session store %s: it belongs to another program; choose another file", f.path)
		}
		return nil
	})
}

// refused says why the library did not open a file.
func refused(path string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("open the session store %s: another process uses it; end that one, or use another file", path)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("open the session store: %w", err)
	}
	return damaged(path, err)
}

// guard turns what a damaged file can do to its reader, page faults included, into an error.
func guard(path string, err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			*err = damaged(path, fmt.Errorf("%v", r))
		}
	}
}

func damaged(path string, err error) error {
	return fmt.Errorf("session store %s: it is damaged or no session store (%w); move it away to start a new session", path, err)
}

// Load yields the records in order.
func (f *File) Load(yield func(key, value []byte) error) error {
	return f.db.View(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).ForEach(yield) })
}

// Commit makes changes durable in one transaction; a nil value deletes.
func (f *File) Commit(changes iter.Seq2[[]byte, []byte]) (err error) {
	defer guard(f.path, &err)()
	err = f.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		for k, v := range changes {
			put := b.Put
			if v == nil {
				put = func(k, _ []byte) error { return b.Delete(k) }
			}
			if err := put(k, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write the session store %s: %w", f.path, err)
	}
	return nil
}

// Close closes the file. It waits for a Commit that is under way.
func (f *File) Close() error { return f.db.Close() }
