package registry

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// batched are the calls that are explored in batches. What travels alone is
// explored elsewhere, and so are the ways to give back that lead where another
// one leads as well: all of it at once takes minutes.
func batched(c *call) bool {
	return c.id != "" && !strings.Contains(c.name, "never entered") && !strings.Contains(c.name, "handed back")
}

// outer says whether a condition may be asked for a whole batch: that a session
// is alive. In batches it must be seen to be asked, also once it can't hold any
// more.
func (x *explorer) outer(p *etcdserverpb.Compare) bool {
	return x.world.batches && strings.HasPrefix(string(p.Key), x.t.k.session(""))
}

// batches lets any two calls that are under way reach etcd in one request, as
// the batch that the registry makes of them. It does not matter whose they
// are. They may also be sent alone, before, after or both: that is what
// expand does with each.
func (x *explorer) batches(s *state) *violation {
	if !x.world.batches {
		return nil
	}
	for i, c := range s.calls {
		for j, other := range s.calls {
			if i == j {
				continue
			}
			e, landed := x.together(s.store, c, other)
			if e.what != "" {
				return x.broken(s, e)
			}
			if e.next != nil {
				calls := slices.Clone(s.calls)
				calls[i], calls[j] = landed[0], landed[1]
				x.add(&state{store: e.next, calls: calls, from: s, step: e.name})
				rest := slices.DeleteFunc(slices.Clone(calls), func(c *call) bool { return slices.Contains(landed, c) })
				x.add(&state{store: e.next, calls: rest, from: s, step: e.name + " for the last time"})
			}
		}
	}
	return nil
}

// together lets two calls reach etcd as one batch. There is no next state if
// they may not travel together, or nothing was done. landed is as they are
// afterwards.
func (x *explorer) together(s *evaluator, calls ...*call) (e event, landed []*call) {
	e.name = calls[0].name + " together with " + calls[1].name
	b := &batch{}
	for _, c := range calls {
		m := newMember(c.transition, false)
		if m.tr.id != "" && x.world.careless {
			m.tr.id = c.name // so that no two are about the same
		}
		if !b.add(m) {
			return e, nil
		}
	}
	next, resp, err := s.txn(b.request())
	if err != nil {
		if !x.world.careless {
			e.what = err.Error()
		}
		return e, nil // refused: each is sent alone
	}
	each := b.answers(resp)
	if each == nil {
		return e, nil // a condition of both does not hold: as well
	}
	for i, c := range calls {
		after := *c
		if each[i].Succeeded {
			after.landed = min(after.landed+1, 2)
			e.next = &next
		}
		switch {
		case after.landed > 1 && !x.mayLandAgain(c):
			e.what = c.name + " was applied more than once"
		case each[i].Succeeded && c.sid != "" && !x.alive(s, c.sid):
			e.what = c.name + " is a write of a session that had ended"
		}
		landed = append(landed, &after)
	}
	if e.what == "" {
		e.what = x.wrongBatch(s, &next, landed)
	}
	for i, c := range landed {
		if e.what == "" {
			e.what = x.forgive(&next, c, c.believe(c, &next, resolve(c.transition, each[i]).applied))
		}
	}
	return e, landed
}

// wrongBatch is what wrong is for a step of one call: what became of each
// process is judged by the call that was about it.
func (x *explorer) wrongBatch(before, after *evaluator, calls []*call) string {
	about := map[string]*call{}
	for _, c := range calls {
		about[c.id] = c
	}
	for _, id := range x.world.ids {
		if what := x.wrongWithProcess(before, after, id, about[id]); what != "" {
			return what
		}
	}
	return x.wrongWith(after)
}

// TestBatchesKeepTheRules explores two processes whose transitions travel
// together, with copies of a batch, and of its members, that land late. Two
// nodes at once hold too, but take a minute.
func TestBatchesKeepTheRules(t *testing.T) {
	t.Parallel()
	began := time.Now()
	x := newExplorer(world{ids: []string{"p", "q"}, sessions: []session{{"a1", ""}}, calls: 2, batches: true})
	states, v := x.explore()
	t.Logf("%d states in %s", states, time.Since(began).Round(time.Millisecond))
	if v != nil {
		t.Fatal(v)
	}
	for _, calls := range x.possibles {
		for _, c := range calls {
			if c.transition.id != c.id {
				t.Fatalf("%s is about %q, and says %q", c.name, c.id, c.transition.id)
			}
		}
	}
}

// TestABatchMustNotHoldTwoTransitionsOfOneProcess: each of them would be judged
// on the state before the other. A claim and a cancel both succeed, and leave a
// process that was cancelled and is claimed.
func TestABatchMustNotHoldTwoTransitionsOfOneProcess(t *testing.T) {
	t.Parallel()
	w := world{ids: []string{"p"}, sessions: []session{{"a1", ""}}, calls: 2, batches: true, careless: true}
	states, v := newExplorer(w).explore()
	if v == nil {
		t.Fatalf("%d states and nothing wrong", states)
	}
	t.Logf("found in %d states: %v", states, v)
	const want = "p has ended and left"
	if !strings.Contains(v.what, want) || !strings.Contains(v.what, "claim p by a1") {
		t.Errorf("found %q, want a claim, and %q", v.what, want)
	}
}
