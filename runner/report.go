package runner

import (
	"errors"

	"go.uber.org/zap"

	"github.com/drover-run/drover/registry"
)

// report takes from what failed the keys that drover did not write: they are
// passed over and do not end a drive. They are logged when they are first
// seen, and not again with every drive while nothing changes.
func (r *Runner) report(where string, err error) error {
	if _, corrupt := errors.AsType[*registry.CorruptError](err); err != nil && !corrupt {
		return err
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	r.mu.Lock()
	isNew := r.reported[where] != text
	r.reported[where] = text
	r.mu.Unlock()
	if isNew && err != nil {
		r.log.Error("keys that can't be read are passed over", zap.String("among", where), zap.Error(err))
	}
	return nil
}
