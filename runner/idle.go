package runner

import (
	"sync"
	"time"

	"github.com/drover-run/drover/registry"
)

const (
	// firstOthers is how many of others' entries are tried at first: if the
	// others are merely slow, no more claims are lost.
	firstOthers = 4
	// moreOthers is what that is multiplied by as long as none is lost.
	moreOthers = 4
	maxOthers  = 1 << 20
)

// idle says since when a node has had room that nothing of its own fills, and
// how much of others' it may try to take. While what is its own fills its
// slots, nothing waits for others that it could have run.
type idle struct {
	mu   sync.Mutex
	from time.Time
	// others is how much it may try, once it has taken some and lost none; then
	// it goes on taking. 0 is the first time.
	others int
}

// full notes that there is no room now.
func (i *idle) full() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.others == 0 {
		i.from = time.Now()
	}
}

// since is when the wait for the entry begins at the earliest. For what was put
// back for want of room nobody is to wait.
func (i *idle) since(e registry.Entry) time.Time {
	if e.Common() {
		return time.Time{}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.from
}

// allowance is how much of others' may be tried at once.
func (i *idle) allowance() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return max(i.others, firstOthers)
}

// took notes what became of a list: how much of it was the node's own, how many
// claims it tried, its own first, and whether it made them all. A claim that is
// lost shows that the others take theirs.
func (i *idle) took(own, tried int, all bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case own > tried:
		i.others = 0 // it has enough of its own
	case own == tried:
	case all:
		i.others = min(max(i.others, firstOthers)*moreOthers, maxOthers)
	default:
		i.others, i.from = 0, time.Now()
	}
}
