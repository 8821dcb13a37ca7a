package registry

import (
	"context"
	"testing"
	"time"

	"github.com/drover-run/drover/lease"
)

// execute executes a testament as a witness does, and says what then stands of the node: whether its session does, and
// the evidence.
func execute(t *testing.T, r *Registry, s *Session, will Testament) (ended, alive bool, evidence string) {
	t.Helper()
	ended, err := will.Execute(t.Context(), r.client, "seen to end", time.Unix(1, 0).UTC())
	noErr(t, err)
	roster, err := r.roster(t.Context())
	noErr(t, err)
	for _, n := range roster {
		if n.Session == s.ID() {
			return ended, n.Alive, n.value.Evidence
		}
	}
	return ended, false, ""
}

func testament(t *testing.T, r *Registry, s *Session) Testament {
	t.Helper()
	will, err := r.Testament(s)
	noErr(t, err)
	return will
}

func TestTestamentEndsTheSessionWithEvidence(t *testing.T) {
	r := newRegistry(t)
	s := join(t, r, "a")
	will := testament(t, r, s)
	if ended, alive, evidence := execute(t, r, s, will); !ended || alive || evidence != "seen to end" {
		t.Errorf("ended %v, alive %v, evidence %q", ended, alive, evidence)
	}
	// As when the answer was lost.
	if ended, alive, evidence := execute(t, r, s, will); ended || alive || evidence != "seen to end" {
		t.Errorf("again: ended %v, alive %v, evidence %q", ended, alive, evidence)
	}
}

// What was held under a session that has expired is orphaned: that its node is dead decides about it.
func TestTestamentNotesTheDeathOfANodeWithoutASession(t *testing.T) {
	r := newRegistry(t)
	s := join(t, r, "a")
	will := testament(t, r, s)
	noErr(t, s.Close(t.Context()))
	if ended, alive, evidence := execute(t, r, s, will); ended || alive || evidence != "seen to end" {
		t.Errorf("ended %v, alive %v, evidence %q", ended, alive, evidence)
	}
}

func TestTestamentOfANodeThatLeftSaysNothing(t *testing.T) {
	r := newRegistry(t)
	s, other := join(t, r, "a"), join(t, r, "a")
	will := testament(t, r, s)
	noErr(t, r.Leave(t.Context(), s))
	if ended, alive, evidence := execute(t, r, other, will); ended || !alive || evidence != "" {
		t.Errorf("the next incarnation: ended %v, alive %v, evidence %q", ended, alive, evidence)
	}
	if kvs := read(t, r, r.keys.node(s.ID())); kvs != "" {
		t.Errorf("the record of the node that left is back: %s", kvs)
	}
}

func TestRecordWitnessIsOnTheRosterAndInTheTestament(t *testing.T) {
	r := newRegistry(t)
	s := join(t, r, "a")
	before := testament(t, r, s)
	noErr(t, r.RecordWitness(t.Context(), s, lease.Self()))
	nodes, err := r.Nodes(t.Context())
	noErr(t, err)
	if len(nodes) != 1 || nodes[0].Witness != lease.Self() {
		t.Errorf("the roster has %+v", nodes)
	}
	after := testament(t, r, s)
	noErr(t, s.Close(t.Context()))
	// One that does not know of the record as it stands does not write over it.
	if _, _, evidence := execute(t, r, s, before); evidence != "" {
		t.Errorf("an old testament left the evidence %q", evidence)
	}
	if _, _, evidence := execute(t, r, s, after); evidence != "seen to end" {
		t.Errorf("the evidence is %q", evidence)
	}
	wantErr(t, r.RecordWitness(t.Context(), s, lease.Self()), lease.ErrLost)
}

// Who asked the kernel about a witness that was replaced meanwhile knows nothing of the next one.
func TestProofOfAnOldRecordDoesNotEndTheSession(t *testing.T) {
	r := newRegistry(t)
	s := join(t, r, "a")
	before, err := r.Nodes(t.Context())
	noErr(t, err)
	noErr(t, r.RecordWitness(t.Context(), s, lease.Self()))
	noErr(t, r.EndSession(t.Context(), before[0], "the old witness is gone"))
	after, err := r.Nodes(t.Context())
	noErr(t, err)
	if len(after) != 1 || after[0].Session != s.ID() {
		t.Fatalf("the session was ended: left are %+v", after)
	}
	noErr(t, r.EndSession(t.Context(), after[0], "both are gone"))
	if n := nodeOf(t, r, s); n.Alive || n.value.Evidence != "both are gone" {
		t.Errorf("alive %v with evidence %q", n.Alive, n.value.Evidence)
	}
}

func read(t *testing.T, r *Registry, key string) string {
	t.Helper()
	resp, err := r.client.Get(context.WithoutCancel(t.Context()), key)
	noErr(t, err)
	if len(resp.Kvs) == 0 {
		return ""
	}
	return string(resp.Kvs[0].Value)
}
