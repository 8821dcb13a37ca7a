package registry

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

func (x *explorer) row(s *evaluator, id string) (row, bool) {
	kv := s.kvs[x.t.k.process(id)]
	if kv == nil {
		return row{}, false
	}
	if r, ok := x.rows[string(kv.Value)]; ok {
		return r, true
	}
	r, err := decodeRow(string(kv.Key), id, kv.Value)
	if err != nil {
		panic(err)
	}
	x.rows[string(kv.Value)] = r
	return r, true
}

// around is what stands about one process, but for its row.
type around struct {
	waiting []string // keys
	claims  []string
	parked  bool
	request bool
	done    int
}

func (x *explorer) around(s *evaluator, id string) around {
	var a around
	for key, kv := range s.kvs {
		switch kind, rest, _ := strings.Cut(strings.TrimPrefix(key, x.t.k.root), "/"); kind {
		case "pending":
			if last(key) == id {
				a.waiting = append(a.waiting, key)
			}
		case "timer":
			if strings.Split(rest, "/")[1] == id {
				a.waiting = append(a.waiting, key)
			}
		case "claim":
			if last(key) == id {
				a.claims = append(a.claims, key)
			}
		case "parked":
			a.parked = a.parked || rest == id
		case "request":
			a.request = a.request || rest == id
		case "done":
			if bytes.Contains(kv.Value, []byte(`"`+id+`"`)) {
				a.done++
			}
		}
	}
	return a
}

// wrongWith says what must not be in any state.
func (x *explorer) wrongWith(s *evaluator) string {
	for _, id := range x.world.ids {
		there, ok := x.row(s, id)
		a := x.around(s, id)
		places := len(a.waiting) + len(a.claims)
		if a.parked {
			places++
		}
		switch {
		case !ok && (places > 0 || a.request || a.done > 0):
			return fmt.Sprintf("%s has no row, but left %+v", id, a)
		case ok && there.ended() && (places > 0 || a.request):
			return fmt.Sprintf("%s has ended and left %+v", id, a)
		case ok && there.ended() && a.done != 1:
			return fmt.Sprintf("%s has ended and %d hints say so", id, a.done)
		case ok && !there.ended() && places != 1:
			return fmt.Sprintf("%s has %d places: %+v", id, places, a)
		case ok && !there.ended() && a.done != 0:
			return fmt.Sprintf("%s has not ended, and a hint says so", id)
		case ok && a.request && len(a.waiting) > 0:
			return fmt.Sprintf("%s waits beside a request that nobody will ask for", id)
		case len(a.waiting) > 0 && !slices.Contains(x.t.waitingPlaces(there), a.waiting[0]):
			return fmt.Sprintf("%s waits at %s, which does not follow from its row", id, a.waiting[0])
		}
		for _, key := range a.claims {
			sid := strings.Split(key, "/")[4]
			if s.kvs[x.t.k.node(sid)] == nil {
				return fmt.Sprintf("nobody will find the claim %s once it is an orphan", key)
			}
		}
	}
	return ""
}

// wrongStep says what must not be in a step. c is nil if no call made it.
func (x *explorer) wrongStep(before, after *evaluator, c *call) string {
	if c != nil && c.landed > 1 && c.kind != "forget" {
		return fmt.Sprintf("it was applied %d times", c.landed)
	}
	if c != nil && c.sid != "" && !x.alive(before, c.sid) {
		return "a write of a session that had ended"
	}
	for _, id := range x.world.ids {
		if what := x.wrongWithRow(before, after, id); what != "" {
			return what
		}
		if what := x.wrongWithClaims(before, after, id, c); what != "" {
			return what
		}
		request := x.t.k.request(id)
		if before.kvs[request] != nil && before.kvs[request] != after.kvs[request] {
			if there, _ := x.row(after, id); !there.ended() {
				return "the request for " + id + " was forgotten"
			}
		}
	}
	return x.wrongWithSessions(before, after, c)
}

func (x *explorer) wrongWithRow(before, after *evaluator, id string) string {
	old, had := x.row(before, id)
	now, has := x.row(after, id)
	switch {
	case !had:
		return ""
	case !has:
		return "the row of " + id + " is lost"
	case old.ended() && before.kvs[x.t.k.process(id)] != after.kvs[x.t.k.process(id)]:
		return fmt.Sprintf("the outcome of %s was %s and is written again as %s", id, old.Outcome, now.Outcome)
	case now.Fence < old.Fence:
		return fmt.Sprintf("the fence of %s went back from %d to %d", id, old.Fence, now.Fence)
	case now.Attempt < old.Attempt || len(now.History) < len(old.History):
		return fmt.Sprintf("attempt %d of %s was forgotten", old.Attempt, id)
	case string(now.Spec) != string(old.Spec):
		return "the spec of " + id + " changed"
	}
	return ""
}

func (x *explorer) wrongWithClaims(before, after *evaluator, id string, c *call) string {
	now, _ := x.row(after, id)
	for _, key := range x.around(before, id).claims {
		claim, sid := before.kvs[key], strings.Split(key, "/")[4]
		if after.kvs[key] == claim {
			continue
		}
		if (c == nil || c.sid != sid) && before.kvs[x.t.k.session(sid)] != nil {
			return "the claim of a living session was taken away"
		}
		if c != nil && c.kind != "unclaim" && now.Fence != claim.ModRevision {
			return fmt.Sprintf("the claim with fence %d ended, the row says %d", claim.ModRevision, now.Fence)
		}
	}
	for _, key := range x.around(after, id).claims {
		claim := after.kvs[key]
		if before.kvs[key] == claim {
			continue
		}
		if claim.ModRevision <= now.Fence {
			return fmt.Sprintf("the new fence of %s is %d, it had %d", id, claim.ModRevision, now.Fence)
		}
		if before.kvs[x.t.k.request(id)] != nil {
			return "claimed although somebody asks to end it"
		}
		if c != nil && c.kind == "claim" && before.kvs[x.t.k.queue("main")] != nil {
			return "claimed from a paused queue"
		}
	}
	return ""
}

func (x *explorer) wrongWithSessions(before, after *evaluator, c *call) string {
	for _, incarnation := range x.world.sessions {
		session, node := x.t.k.session(incarnation.sid), x.t.k.node(incarnation.sid)
		if c != nil && before.kvs[node] == nil && after.kvs[node] != nil {
			return incarnation.sid + " was forgotten and is back in the roster"
		}
		if c != nil && before.kvs[session] != nil && before.kvs[node] != nil && after.kvs[node] == nil {
			return incarnation.sid + " was forgotten before its session was gone"
		}
	}
	return ""
}

// justAsItWas is the belief of a sender who must know for certain.
func justAsItWas(c *call, _ *evaluator, applied bool) string {
	if applied != (c.landed > 0) {
		return fmt.Sprintf("its sender believes that it happened: %v; it did: %v", applied, c.landed > 0)
	}
	return ""
}

// askedNothing is for calls whose sender does not care who did it.
func askedNothing(*call, *evaluator, bool) string { return "" }

// requested is the belief of a canceller: if his request is not found it was
// refused, or has been answered.
func (x *explorer) requested(c *call, at *evaluator, applied bool) string {
	if there, _ := x.row(at, c.id); c.landed > 0 && !applied && there.ended() {
		return ""
	}
	return justAsItWas(c, at, applied)
}

// released is the belief of a node that gave back a claim which it had never
// entered. That is no attempt and in no history: once somebody else wrote the
// row nothing tells of it, and the node believes that it lost the claim. It
// does the same in either case, nothing.
func (x *explorer) released(written row) func(*call, *evaluator, bool) string {
	return func(c *call, at *evaluator, applied bool) string {
		if there, _ := x.row(at, c.id); c.landed > 0 && !applied && there.Mark != written.Mark {
			return ""
		}
		return justAsItWas(c, at, applied)
	}
}
