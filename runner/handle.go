package runner

import (
	"context"
	"time"

	"github.com/drover-run/drover/registry"
)

// Reason is why a drive was made.
type Reason string

// The reasons for a drive.
const (
	Startup Reason = "startup" // the node has just begun, or began again
	Poke    Reason = "poke"    // somebody said that there is something
	Poll    Reason = "poll"    // nobody did, and it was time to look anyway
)

// Drove is what a drive did.
type Drove struct {
	// Claimed is how many processes were handed to slots.
	Claimed int
	// Starved is true if more was claimable than there were free slots: who
	// frees a slot is to drive again.
	Starved bool
	// Next is the earliest time that the drive knows of at which something
	// falls due; zero if it knows of none.
	Next time.Time
}

// RunHandle is the seam for another execution tier: whatever claims what is
// pending and sees to it that it is run. [Inline] is the one that runs it on
// this node. A drive never waits for handlers.
type RunHandle interface {
	ClaimAndRunPending(ctx context.Context, reason Reason) (Drove, error)
}

// Inline is the RunHandle that drives r on this node.
func Inline(r *Runner) RunHandle { return inline{r} }

type inline struct{ r *Runner }

func (i inline) ClaimAndRunPending(ctx context.Context, reason Reason) (Drove, error) {
	return i.r.Drive(ctx, reason)
}

// Slots are where attempts run on this node. None of its
// methods may block.
type Slots interface {
	// Free is how many more processes this node may run now.
	Free() int
	// FreeIn is how many of them may be of that queue.
	FreeIn(queue string) int
	// Hand gives a claim to a free slot, which calls Runner.Run with it.
	Hand(c *registry.Claim)
}
