package runner

import (
	"errors"

	"go.uber.org/zap"

	"github.com/drover-run/drover/registry"
)

// report takes from what failed the keys that drover can't read: they are left
// as they are, and do not end a drive. Each is logged once, and counted.
func (r *Runner) report(err error) error {
	corrupt, others := sift(err)
	for _, c := range corrupt {
		if r.isNew(c.Key) {
			r.log.Error("a key can't be read, it is left as it is", zap.String("key", c.Key), zap.Error(c.Why))
		}
	}
	return errors.Join(others...)
}

// isNew says whether the key was not reported before.
func (r *Runner) isNew(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reported[key] {
		return false
	}
	if len(r.reported) >= maxUnfit {
		clear(r.reported)
	}
	r.reported[key] = true
	r.unreadable++
	return true
}

// Unreadable counts the keys that this Runner has come upon and could not
// read: what drover did not write, and what a newer one did.
func (r *Runner) Unreadable() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unreadable
}

// sift parts joined errors into those about keys that can't be read and all
// others.
func sift(err error) (corrupt []*registry.CorruptError, others []error) {
	switch {
	case err == nil:
		return nil, nil
	case !isCorrupt(err):
		return nil, []error{err}
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			c, o := sift(err)
			corrupt, others = append(corrupt, c...), append(others, o...)
		}
		return corrupt, others
	}
	c, _ := errors.AsType[*registry.CorruptError](err)
	return []*registry.CorruptError{c}, nil
}
