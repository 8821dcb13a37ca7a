package runner

import (
	"slices"
	"time"

	"github.com/drover-run/drover/registry"
)

const (
	// unfitFor is how long an entry that can't be run is passed over before
	// it is tried again: somebody may have repaired its row.
	unfitFor = time.Minute
	// maxUnfit bounds what is remembered of them.
	maxUnfit = 10_000
)

// waiting is a place in the queue, as it is remembered.
type waiting struct {
	id  string
	seq int64
}

func placeOf(e registry.Entry) waiting { return waiting{id: e.ID, seq: e.Seq} }

// setUnfit passes the entry over from now on: its process can't be run, as its
// row is corrupt. It was claimed, reported, and put back.
func (r *Runner) setUnfit(e registry.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.unfit) >= maxUnfit {
		clear(r.unfit)
	}
	r.unfit[placeOf(e)] = time.Now()
}

// unfitNow is how many entries are passed over at the moment, at the most: a
// list must be that much longer, or they would clog it.
func (r *Runner) unfitNow() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.unfit)
}

// fit leaves out what is to be passed over.
func (r *Runner) fit(entries []registry.Entry) []registry.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.unfit) == 0 {
		return entries
	}
	return slices.DeleteFunc(entries, func(e registry.Entry) bool {
		at, known := r.unfit[placeOf(e)]
		return known && time.Since(at) < unfitFor
	})
}
