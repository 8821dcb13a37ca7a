package registry

import (
	"slices"
	"testing"
	"time"
)

// comesBack opens another session for the node that lost this one.
func comesBack(t *testing.T, r *Registry, lost *Session) *Session {
	t.Helper()
	s, err := r.OpenSession(t.Context(), NodeInfo{Name: lost.Node(), Queues: []string{"default"}, Max: 8, Replaces: lost}, time.Minute)
	noErr(t, err)
	t.Cleanup(func() { leave(t, s) })
	return s
}

func TestAdoptionAfterAnOutageIsNotCounted(t *testing.T) {
	for name, c := range map[string]struct {
		counted bool
		// loses has node a lose its session a1, and says who adopts what it had
		// claimed under that.
		loses func(t *testing.T, r *Registry, a1 *Session) *Session
	}{
		"by the node itself": {false, func(t *testing.T, r *Registry, a1 *Session) *Session {
			leave(t, a1)
			return comesBack(t, r, a1)
		}},
		"by the node itself, whose session outlived its loss": {false, func(t *testing.T, r *Registry, a1 *Session) *Session {
			a2 := comesBack(t, r, a1)
			leave(t, a1)
			return a2
		}},
		"by the node itself, after two": {false, func(t *testing.T, r *Registry, a1 *Session) *Session {
			leave(t, a1)
			a2 := comesBack(t, r, a1)
			leave(t, a2)
			return comesBack(t, r, a2)
		}},
		"by another one, as the node is back": {false, func(t *testing.T, r *Registry, a1 *Session) *Session {
			leave(t, a1)
			comesBack(t, r, a1)
			return join(t, r, "b")
		}},
		"by another one, who did not see its end": {false, func(t *testing.T, r *Registry, a1 *Session) *Session {
			b1 := join(t, r, "b")
			leave(t, a1)
			leave(t, b1)
			return comesBack(t, r, b1)
		}},
		"by another one, whose own session outlived its loss": {false, func(t *testing.T, r *Registry, a1 *Session) *Session {
			b1 := join(t, r, "b")
			leave(t, a1)
			return comesBack(t, r, b1)
		}},
		"by another one, two of whose own sessions outlived their loss": {false, func(t *testing.T, r *Registry, a1 *Session) *Session {
			b1 := join(t, r, "b")
			b2 := comesBack(t, r, b1)
			leave(t, a1)
			return comesBack(t, r, b2)
		}},

		"the node was started again": {true, func(t *testing.T, r *Registry, a1 *Session) *Session {
			leave(t, a1)
			return join(t, r, "a")
		}},
		"the nodes are an older drover's, and don't say which they are": {true, func(t *testing.T, r *Registry, a1 *Session) *Session {
			b1 := join(t, r, "b")
			for _, s := range []*Session{a1, b1} {
				write(t, r, r.keys.node(s.ID()), `{"name":"`+s.Node()+`","incarnation":"`+s.ID()+`"}`)
			}
			leave(t, a1)
			return b1
		}},
		"the node is dead": {true, func(t *testing.T, r *Registry, a1 *Session) *Session {
			proved(t, r, a1)
			return comesBack(t, r, a1) // it is not, but whoever says so is believed
		}},
		"the node is dead, and nobody saw it": {true, func(t *testing.T, r *Registry, a1 *Session) *Session {
			b1 := join(t, r, "b")
			proved(t, r, a1)
			leave(t, b1)
			return comesBack(t, r, b1)
		}},
		"a session of its that is older stands": {true, func(t *testing.T, r *Registry, a1 *Session) *Session {
			a2 := comesBack(t, r, a1)
			noErr(t, r.Release(t.Context(), claimOf(t, r, a1, "p")))
			claim(t, r, a2, "p")
			leave(t, a2)
			return join(t, r, "b")
		}},
		"who adopts saw its end": {true, func(t *testing.T, r *Registry, a1 *Session) *Session {
			b1 := join(t, r, "b")
			leave(t, b1)
			b2 := comesBack(t, r, b1)
			leave(t, a1)
			return b2
		}},
		"somebody else was there to see its end": {true, func(t *testing.T, r *Registry, a1 *Session) *Session {
			join(t, r, "c")
			b1 := join(t, r, "b")
			leave(t, a1)
			leave(t, b1)
			return comesBack(t, r, b1)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t)
			start(t, r, "p", MaxAdoptions(2))
			a1 := join(t, r, "a")
			claim(t, r, a1, "p")
			adopter := c.loses(t, r, a1)
			attempt := lookAt(t, r, "p").Attempt
			c2, err := r.Adopt(t.Context(), adopter, orphanOf(t, r, "p"), true)
			noErr(t, err)
			adoptions, how := 0, LostInOutage
			if c.counted {
				adoptions, how = 1, SessionLost
			}
			p := wants(t, r, "p", StatusRunning, attempt+1, 0, adoptions, 0)
			if got := p.History[len(p.History)-1].Error; got != how || c2.Attempt != attempt+1 {
				t.Errorf("attempt %d follows on one that ended as %q, want %d and %q", c2.Attempt, got, attempt+1, how)
			}
		})
	}
}

// claimOf is the claim that the session holds, as its maker would have it.
func claimOf(t *testing.T, r *Registry, s *Session, id string) *Claim {
	t.Helper()
	resp, err := r.read(t.Context(), get(r.keys.claim(s.ID(), id)), get(r.keys.process(id)))
	noErr(t, err)
	v := newView(resp.Responses)
	there, ok := v.row(r.keys, id)
	if !ok {
		t.Fatalf("%s has no row", id)
	}
	return &Claim{ID: id, Fence: v.modRevision(r.keys.claim(s.ID(), id)), Session: s, row: there}
}

// However often etcd is away: what runs the whole time is not what kills nodes.
func TestOutagesNeverQuarantine(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	s := join(t, r, "n")
	claim(t, r, s, "p")
	var want []string
	for range 7 {
		leave(t, s)
		s = comesBack(t, r, s)
		c, err := r.Adopt(t.Context(), s, orphanOf(t, r, "p"), true)
		noErr(t, err)
		c.Enter()
		want = append(want, "session lost in an outage")
	}
	p := wants(t, r, "p", StatusRunning, 8, 0, 0, 0)
	var how []string
	for _, past := range p.History {
		how = append(how, past.Error)
	}
	if !slices.Equal(how, want) {
		t.Errorf("history %q", how)
	}
	// One without a free slot puts it back.
	leave(t, s)
	s = comesBack(t, r, s)
	_, err := r.Adopt(t.Context(), s, orphanOf(t, r, "p"), false)
	noErr(t, err)
	wants(t, r, "p", StatusPending, 8, 0, 0, 0)
	// Deaths count as ever.
	if !deaths(t, r, "p", 3) {
		t.Error("three nodes have died under it, and it goes on")
	}
	wants(t, r, "p", StatusFailed, 11, 0, 3, 0)
}

// A node that came back once is as good a witness of later deaths as any.
func TestWhatKillsNodesIsQuarantinedBesideANodeThatCameBack(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	b := join(t, r, "b")
	a := join(t, r, "a")
	leave(t, b)
	b = comesBack(t, r, b)
	for n := range 3 {
		claim(t, r, a, "p")
		leave(t, a)
		if n == 1 {
			a = join(t, r, "a") // it was started again before anybody noticed
		}
		_, err := r.Adopt(t.Context(), b, orphanOf(t, r, "p"), false)
		noErr(t, err)
		if n != 1 {
			a = join(t, r, "a")
		}
	}
	if p := wants(t, r, "p", StatusFailed, 3, 0, 3, 0); p.OutcomeReason != "quarantined: too many nodes died under it" {
		t.Errorf("%s", p.OutcomeReason)
	}
}

// What becomes of an orphan that is not run again is told in the same words.
func TestAnEndAfterAnOutage(t *testing.T) {
	for what, outcome := range map[string]Status{RequestAbandon: StatusAbandoned, "": StatusCancelled} {
		r := newRegistry(t)
		start(t, r, "p")
		s := join(t, r, "n")
		claim(t, r, s, "p")
		if what == "" {
			_, err := r.Cancel(t.Context(), "p", Request{})
			noErr(t, err)
		}
		leave(t, s)
		s = comesBack(t, r, s)
		if what == "" {
			_, err := r.Adopt(t.Context(), s, orphanOf(t, r, "p"), true)
			noErr(t, err)
		} else {
			_, err := r.Abandon(t.Context(), "p", Request{By: "me", Reason: "a test"})
			noErr(t, err)
		}
		if p := wants(t, r, "p", outcome, 1, 0, 0, 0); p.Error != "session lost in an outage" || p.History[0].Error != p.Error {
			t.Errorf("%s: %q", outcome, p.Error)
		}
	}
}

// What ended meanwhile must be known before the session begins: afterwards more
// may have ended.
func TestANodeComesBackOnceItHasReadTheRoster(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	first := join(t, r, "a")
	wire.next(func(func() error) error { return errCut })
	if _, err := r.OpenSession(t.Context(), NodeInfo{Name: "a", Replaces: first}, time.Minute); err == nil {
		t.Error("what ended meanwhile can't be read, and a session is opened")
	}
	if n := wire.left(); n != 0 {
		t.Errorf("%d requests were not made", n)
	}
	comesBack(t, r, first)
}
