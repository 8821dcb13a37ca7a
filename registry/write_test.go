package registry

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestCheckpointsAreForTheNextAttempt(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	a, b := join(t, r, "a"), join(t, r, "b")
	c := claim(t, r, a, "p")
	noErr(t, r.Checkpoint(t.Context(), c, "one", []byte(`{ "n": 1 }`)))
	noErr(t, r.Checkpoint(t.Context(), c, "one", []byte(`{"n":2}`)))
	noErr(t, r.Checkpoint(t.Context(), c, "two", nil))
	noErr(t, r.Progress(t.Context(), c, []byte(`"half"`)))
	leave(t, a)
	c2, err := r.Adopt(t.Context(), b, orphanOf(t, r, "p"), true)
	noErr(t, err)
	c2.Enter()
	steps, err := r.Steps(t.Context(), c2)
	noErr(t, err)
	if two, has := steps["two"]; len(steps) != 2 || string(steps["one"]) != `{"n":2}` || !has || len(two) != 0 {
		t.Errorf("steps %s", steps)
	}
	if p := lookAt(t, r, "p"); string(p.Progress) != `"half"` {
		t.Errorf("progress %s", p.Progress)
	}
	// A stale attempt's are refused, and the present one's are not touched.
	wantErr(t, r.Checkpoint(t.Context(), c, "one", []byte(`3`)), ErrClaimLost)
	wantErr(t, r.Progress(t.Context(), c, []byte(`3`)), ErrClaimLost)
	noErr(t, r.Checkpoint(t.Context(), c2, "one", []byte(`4`)))
	steps, err = r.Steps(t.Context(), c2)
	noErr(t, err)
	if string(steps["one"]) != "4" {
		t.Errorf("steps %s", steps)
	}
	noErr(t, r.Complete(t.Context(), c2, nil))
	wantNothingLeft(t, r)
	wantErr(t, r.Progress(t.Context(), c2, []byte(`1`)), ErrClaimLost)
}

func TestWritesAreChecked(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	c := claim(t, r, join(t, r, "a"), "p")
	var large *TooLargeError
	if err := r.Progress(t.Context(), c, json.RawMessage(`"`+strings.Repeat("x", 64<<10)+`"`)); !errors.As(err, &large) || large.What != "progress" {
		t.Errorf("%v", err)
	}
	wantErr(t, r.Progress(t.Context(), c, []byte(`{`)), ErrInvalid)
	wantErr(t, r.Checkpoint(t.Context(), c, "a/b", []byte(`1`)), ErrInvalid)
	if left := keysUnder(t, r, "step/"); len(left) > 0 {
		t.Errorf("written: %v", left)
	}
}

// A session may be over in etcd before its own node knows: what was not
// written must not be said to be durable.
func TestNothingIsWrittenUnderASessionThatIsOver(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *Registry, *Session){
		"ended on evidence": func(t *testing.T, r *Registry, s *Session) {
			nodes, err := r.Nodes(t.Context())
			noErr(t, err)
			noErr(t, r.EndSession(t.Context(), nodes[0], "dead"))
		},
		"detached": func(t *testing.T, r *Registry, s *Session) { write(t, r, s.Key(), "{}") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			start(t, r, "p")
			a := join(t, r, "a")
			c := claim(t, r, a, "p")
			noErr(t, r.Checkpoint(t.Context(), c, "one", []byte(`1`)))
			end(t, r, a)
			wantErr(t, r.Checkpoint(t.Context(), c, "one", []byte(`2`)), ErrClaimLost)
			wantErr(t, r.Progress(t.Context(), c, []byte(`2`)), ErrClaimLost)
			_, err := r.Txn(t.Context(), c, nil, clientv3.OpPut(r.keys.root[1:]+"mine", "x"))
			wantErr(t, err, ErrClaimLost)
		})
	}
}

// A write that was given up as unanswered may land late. If that is before a
// newer one it is written over, else it is refused.
func TestALateWriteNeverCoversANewerOne(t *testing.T) {
	for name, before := range map[string]bool{"it lands first": true, "it lands last": false} {
		t.Run(name, func(t *testing.T) {
			wire := newWire(t)
			r := wire.registry(t)
			start(t, r, "p")
			c := claim(t, r, join(t, r, "a"), "p")
			held := givenUp(t, wire, func(ctx context.Context) error { return r.Progress(ctx, c, []byte(`"old"`)) })
			if before {
				noErr(t, held())
			}
			noErr(t, r.Progress(t.Context(), c, []byte(`"new"`)))
			noErr(t, held())
			if p := lookAt(t, r, "p"); string(p.Progress) != `"new"` {
				t.Errorf("progress %s", p.Progress)
			}
			noErr(t, r.Progress(t.Context(), c, []byte(`"newer"`)))
			if p := lookAt(t, r, "p"); string(p.Progress) != `"newer"` {
				t.Errorf("progress %s", p.Progress)
			}
		})
	}
}

// An attempt's end that could not be recorded leaves a stray. What the attempt
// wrote goes with it all the same.
func TestAStrayThatIsEndedLeavesNothing(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	start(t, r, "p")
	s := join(t, r, "a")
	c := claim(t, r, s, "p")
	noErr(t, r.Checkpoint(t.Context(), c, "one", []byte(`1`)))
	noErr(t, r.Progress(t.Context(), c, []byte(`1`)))
	_, err := r.Cancel(t.Context(), "p", Request{})
	noErr(t, err)
	held := givenUp(t, wire, func(ctx context.Context) error { return r.Complete(ctx, c, nil) })
	n, err := r.Strays(t.Context(), s)
	noErr(t, err)
	if n != 1 {
		t.Fatalf("%d strays", n)
	}
	noErr(t, held())
	wants(t, r, "p", StatusCancelled, 1, 0, 0, 0)
	wantNothingLeft(t, r)
}

// A started owner-bound process is not given back by way of a stray either.
func TestAnOwnerBoundStrayIsAbandoned(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	s, c := owned(t, r, "p")
	held := givenUp(t, wire, func(ctx context.Context) error { return r.Complete(ctx, c, nil) })
	n, err := r.Strays(t.Context(), s)
	noErr(t, err)
	if n != 1 {
		t.Fatalf("%d strays", n)
	}
	noErr(t, held())
	wantEvidence(t, r, "p", EvidenceOwnerDrain)
}

// A request that can't be read for a while is answered as what it is.
func TestEndRequestedWaitsUntilItKnowsWhatWasAsked(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	_, c := owned(t, r, "p")
	_, err := r.Abandon(t.Context(), "p", Request{By: "me"})
	noErr(t, err)
	wire.next(func(func() error) error { return errCut }, func(func() error) error { return errTooLong })
	outcome, err := r.EndRequested(t.Context(), c, "", nil)
	noErr(t, err)
	if outcome != Abandoned {
		t.Errorf("the outcome is %s", outcome)
	}
	wantEvidence(t, r, "p", EvidenceRequest)
}

func TestEndRequestedThatIsGivenUpLeavesAStray(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	start(t, r, "p")
	s := join(t, r, "a")
	c := claim(t, r, s, "p")
	_, err := r.Cancel(t.Context(), "p", Request{})
	noErr(t, err)
	ctx, giveUp := context.WithCancel(t.Context())
	wire.next(func(func() error) error { giveUp(); return errCut })
	_, err = r.EndRequested(ctx, c, "", nil)
	wantErr(t, err, context.Canceled)
	n, err := r.Strays(t.Context(), s)
	noErr(t, err)
	if n != 1 {
		t.Errorf("%d strays, want 1", n)
	}
	wants(t, r, "p", StatusCancelled, 1, 0, 0, 0)
}
