package runner

import (
	"context"
	"errors"
	"time"

	"github.com/drover-run/drover/registry"
)

const (
	// keptFor is how long an orphan that is kept is not looked at again where
	// something may have changed that nobody tells: its row may have been
	// repaired, or its deadline have passed.
	keptFor = time.Minute
	// maxKept bounds what is remembered of them.
	maxKept = 100_000
)

// kept is an orphan that stays one for now: an owner-bound one, of whose
// holder's death there is no proof, or one that can't be read. Kept ones are
// passed over, or they would clog the list of those that can be taken over.
type kept struct {
	at      time.Time // when it was last looked at
	corrupt bool
}

// keep passes an orphan over from now on, and says whether that is new.
func (r *Runner) keep(o registry.Orphan, corrupt bool) (isNew bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.kept) >= maxKept {
		clear(r.kept)
	}
	_, known := r.kept[o.Mark()]
	r.kept[o.Mark()] = kept{at: time.Now(), corrupt: corrupt}
	return !known
}

// isKept says whether the orphan is to be passed over. asked says whether a
// request to end it stands, and what that asks for.
func (r *Runner) isKept(o registry.Orphan, asked bool, what string) bool {
	r.mu.Lock()
	k, known := r.kept[o.Mark()]
	r.mu.Unlock()
	recently := time.Since(k.at) < keptFor
	switch {
	case !known:
		return false
	case k.corrupt:
		return recently
	case o.Proved() || asked && what != "":
		return false // it can be ended
	case asked:
		// To cancel, which its holder can't answer any more. But no other
		// request is made when its deadline passes.
		return recently
	default:
		return true
	}
}

// requestsForKept are the requests that stand, by process, if there are
// orphans that are passed over without one.
func (r *Runner) requestsForKept(ctx context.Context) (map[string]registry.Request, error) {
	r.mu.Lock()
	none := len(r.kept) == 0
	r.mu.Unlock()
	if none {
		return nil, nil
	}
	return r.registry.Requests(ctx)
}

func isCorrupt(err error) bool {
	_, corrupt := errors.AsType[*registry.CorruptError](err)
	return corrupt
}
