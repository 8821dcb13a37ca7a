package registry

import (
	"strings"
	"testing"
)

// A session key that somebody put without its lease never expires, and while
// it stands nobody can adopt what was claimed under it.
func TestSessionWithoutLeaseIsEnded(t *testing.T) {
	r := newRegistry(t)
	theirs, mine := join(t, r, "theirs"), join(t, r, "mine")
	start(t, r, "x")
	if _, err := r.Claim(t.Context(), theirs, entryOf(t, r, "x")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.read(t.Context(), put(theirs.Key(), `{"node":"theirs","queues":[]}`)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.EndDeadSessions(t.Context()); err != nil {
		t.Fatal(err)
	}
	orphans, err := r.Orphans(t.Context(), 10)
	if err != nil || len(orphans) != 1 {
		t.Fatalf("orphans %v, %v, want x", orphans, err)
	}
	c, err := r.Adopt(t.Context(), mine, orphans[0], true)
	if err != nil || c.Attempt != 2 {
		t.Fatalf("adopted %+v, %v, want attempt 2", c, err)
	}
}

// An end that etcd refuses, as it is too large, would leave the process
// claimed for ever.
func TestLongReasonDoesNotKeepAProcessFromEnding(t *testing.T) {
	r := newRegistry(t)
	s := join(t, r, "n")
	start(t, r, "x")
	c, err := r.Claim(t.Context(), s, entryOf(t, r, "x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Cancel(t.Context(), "x", Request{Reason: strings.Repeat("y", 1_572_000)}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.EndRequested(t.Context(), c, "", nil); err != nil {
		t.Fatal(err)
	}
	p, err := r.Get(t.Context(), "x")
	if err != nil || p.Status != StatusCancelled || len(p.OutcomeReason) != 2048 {
		t.Errorf("%s, %d bytes of reason, %v", p.Status, len(p.OutcomeReason), err)
	}
}
