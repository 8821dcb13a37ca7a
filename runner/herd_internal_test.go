package runner

import (
	"fmt"
	"testing"
	"time"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
)

// members are sessions on a real etcd, for surveys that are true.
type members struct {
	t        *testing.T
	registry *registry.Registry
}

func newMembers(t *testing.T) *members {
	t.Helper()
	r, err := registry.Open(t.Context(), etcdtest.Client(t), registry.Options{Namespace: etcdtest.Namespace(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return &members{t, r}
}

func (m *members) open(maximum int, kinds ...string) *registry.Session {
	m.t.Helper()
	s, err := m.registry.OpenSession(m.t.Context(), registry.NodeInfo{
		Name: "n", Queues: []string{"default"}, Kinds: kinds, Max: maximum,
	}, time.Minute)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = s.Close(m.t.Context()) })
	return s
}

func (m *members) survey() registry.Survey {
	m.t.Helper()
	s, err := m.registry.Survey(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

// owned counts whose the first 300 processes of a kind are, of those who are
// asked.
func owned(h *Herd, kind string, sessions ...*registry.Session) (of []int) {
	for _, s := range sessions {
		n := 0
		for i := range 300 {
			if h.rank(s.ID(), "default", kind, fmt.Sprint("p", i)) == 0 {
				n++
			}
		}
		of = append(of, n)
	}
	return of
}

func TestTheHerdSharesAmongThoseThatServe(t *testing.T) {
	m := newMembers(t)
	a, b, other := m.open(10, "k"), m.open(20, "k", "l"), m.open(99, "x")
	h := newHerd()
	h.Set(m.survey())
	if of := owned(h, "k", a, b); of[0]+of[1] != 300 || of[0] < 60 || of[1] < 120 {
		t.Errorf("k: %v of 300, want a third and two thirds", of)
	}
	if of := owned(h, "l", b); of[0] != 300 {
		t.Errorf("l: %v, want all of 300", of)
	}
	if of := owned(h, "x", other); of[0] != 300 {
		t.Errorf("x: %v, want all of 300", of)
	}
	if got := h.spread(a.ID()); got != 13 { // 129 of which 10 are its own
		t.Errorf("the spread is %d, want 13", got)
	}
	// Whoever drains has no share any more, from its own view either.
	if err := m.registry.Drain(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	h.Set(m.survey())
	if of := owned(h, "k", a); of[0] != 300 {
		t.Errorf("b drains, and a has %v, want all of 300", of)
	}
	// What nobody serves is for anybody who lives.
	n := 0
	for _, s := range []*registry.Session{a, other} {
		if h.orphanRank(s.ID(), "default", "gone", "p", false) == 0 {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d see to an orphan that nobody serves, want 1", n)
	}
}

// A survey is older than what the watch tells, and must not undo it.
func TestASurveyDoesNotUndoWhatCameAfterIt(t *testing.T) {
	m := newMembers(t)
	a, b := m.open(10, "k"), m.open(10, "k")
	h := newHerd()
	old := m.survey()
	h.End(b.ID())
	c := m.open(10, "k")
	for _, p := range m.survey().Peers {
		if p.Session == c.ID() {
			h.Join(p)
		}
	}
	h.Set(old)
	if _, there := h.peers[b.ID()]; there || len(h.peers) != 2 {
		t.Errorf("the herd is %v, want a and c", h.peers)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.Set(m.survey())
	if len(h.ended) != 0 {
		t.Errorf("ends are remembered for ever: %v", h.ended)
	}
	// Word of what is over comes late.
	for _, p := range old.Peers {
		if p.Session == a.ID() && h.Join(p) {
			t.Error("a has drained")
		}
	}
	if err := m.registry.Drain(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	for _, p := range m.survey().Peers {
		if drains := h.Join(p); drains != (p.Session == a.ID()) {
			t.Errorf("%s drains: %t", p.Session, drains)
		}
	}
}

// Whether this node is one of those who can take it may change at any time.
func TestRanksFollowWhatTheNodeIsAbleTo(t *testing.T) {
	m := newMembers(t)
	self, other := m.open(1, "k"), m.open(1, "k")
	h := newHerd()
	h.Set(m.survey())
	first := 0
	for i := range 100 {
		id := fmt.Sprint("p", i)
		mine := h.orphanRank(self.ID(), "default", "k", id, true)
		if mine == 0 {
			first++
		}
		if n := h.orphanRank(self.ID(), "default", "k", id, false); n != 1 {
			t.Fatalf("while it is not able its rank for %s is %d, want 1: after that of %s", id, n, other.ID())
		}
		if n := h.rank(self.ID(), "default", "k", id); n != mine {
			t.Fatalf("its rank for %s is %d once it is able again, want %d", id, n, mine)
		}
	}
	if first < 20 || first > 80 {
		t.Errorf("%d of 100 are its own, want about a half", first)
	}
}
