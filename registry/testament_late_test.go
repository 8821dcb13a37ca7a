package registry

import (
	"context"
	"testing"

	"github.com/drover-run/drover/lease"
)

// A record that was given up and lands late must not put a witness back that
// was replaced meanwhile: the node would count as dead while the one that
// guards it lives.
func TestAWitnessThatIsRecordedLateDoesNotReplaceANewerOne(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	s := join(t, r, "n")
	first, second, third := lease.Identity{Host: "h", PID: 1}, lease.Identity{Host: "h", PID: 2}, lease.Identity{Host: "h", PID: 3}
	land := givenUp(t, wire, func(ctx context.Context) error { return r.RecordWitness(ctx, s, first) })
	noErr(t, r.RecordWitness(t.Context(), s, second))
	noErr(t, land())
	if n := nodeOf(t, r, s); n.value.Witness != second {
		t.Errorf("the witness on record is %+v, want %+v", n.value.Witness, second)
	}
	// And one that lands before the next is no reason to refuse that.
	land = givenUp(t, wire, func(ctx context.Context) error { return r.RecordWitness(ctx, s, first) })
	noErr(t, land())
	noErr(t, r.RecordWitness(t.Context(), s, third))
	n := nodeOf(t, r, s)
	will, err := r.Testament(s)
	noErr(t, err)
	if n.value.Witness != third || will.Recorded != n.revision {
		t.Errorf("the record is %+v at %d, want %+v at %d", n.value.Witness, n.revision, third, will.Recorded)
	}
	leave(t, s)
	wantErr(t, r.RecordWitness(t.Context(), s, first), lease.ErrLost)
}
