package registry

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The due times are the same in every call, so that a timer's key may come
// back after it was deleted.
var (
	startDue = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	retryDue = time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
)

// worlds are the bounds within which everything is explored, small ones first.
// All of it at once (three incarnations, three calls) holds too, but takes
// minutes.
func worlds() []world {
	one := []session{{"a1", ""}}
	two := []session{{"a1", ""}, {"b1", ""}}
	again := []session{{"a1", ""}, {"a2", "a1"}}
	return []world{
		{name: "a paused queue", ids: []string{"p"}, sessions: one, calls: 2, late: true, paused: true},
		{name: "a meddled session", ids: []string{"p"}, sessions: one, calls: 2, meddled: true, unclaims: true},
		{name: "two meddled sessions", ids: []string{"p"}, sessions: two, calls: 1, meddled: true},
		{name: "three calls at once", ids: []string{"p"}, sessions: one, calls: 3},
		{name: "two nodes", ids: []string{"p"}, sessions: two, calls: 2},
		{name: "a node that restarts", ids: []string{"p"}, sessions: again, calls: 2},
		{name: "two processes", ids: []string{"p", "q"}, sessions: two, calls: 1},
	}
}

// open begins a session as package lease does: both keys at one revision.
func (x *explorer) open(s evaluator, sid string) evaluator {
	next := s.putOnLease(x.t.k.session(sid), "open", leaseOf(sid))
	next.put(x.t.k.node(sid), []byte(`{}`), 0)
	return next
}

func leaseOf(sid string) int64 { return int64(sid[0])*10 + int64(sid[1]) }

// created is the revision at which a session began. It stands on its node's
// key, whatever somebody does to the session's.
func (x *explorer) created(s *evaluator, sid string) int64 {
	if kv := s.kvs[x.t.k.node(sid)]; kv != nil {
		return kv.CreateRevision
	}
	return 0
}

// alive is the rule, not its implementation: the key that the session put,
// on the lease that it got.
func (x *explorer) alive(s *evaluator, sid string) bool {
	kv := s.kvs[x.t.k.session(sid)]
	return kv != nil && kv.CreateRevision == x.created(s, sid) && kv.Lease == leaseOf(sid)
}

func (x *explorer) holder(s *evaluator, sid string) holder {
	key := x.t.k.session(sid)
	return holder{sid: sid, node: sid[:1], alive: []clientv3.Cmp{
		clientv3.Compare(clientv3.CreateRevision(key), "=", x.created(s, sid)),
		clientv3.Compare(clientv3.LeaseValue(key), "=", leaseOf(sid)),
	}}
}

// happen is what needs no call: sessions end and begin, people meddle.
func (x *explorer) happen(s *evaluator) []event {
	events, ok := x.happens[s]
	if ok {
		return events
	}
	add := func(name string, next evaluator) {
		events = append(events, event{name: name, next: &next, what: x.wrong(s, &next, nil)})
	}
	for _, incarnation := range x.world.sessions {
		sid, key := incarnation.sid, x.t.k.session(incarnation.sid)
		here := s.kvs[key]
		if here != nil && here.Lease != 0 {
			add(sid+" ends", s.drop(key))
		}
		if here != nil && x.world.meddled && x.alive(s, sid) {
			add(sid+" is detached", s.putOnLease(key, "detached", 0))
			add(sid+" is recreated", s.drop(key).putOnLease(key, "recreated", leaseOf(sid)))
		}
		if here == nil && x.mayOpen(s, incarnation) {
			next := x.open(*s, sid)
			next.put("opened "+sid, nil, 0)
			add(sid+" opens", next)
		}
	}
	if key := x.t.k.queue("main"); x.world.paused && s.kvs[key] == nil {
		add("the queue is paused", s.putOnLease(key, `{"paused":true}`, 0))
	}
	x.happens[s] = events
	return events
}

// mayOpen says whether the incarnation before is over and this one has not
// been. What shows that is a counter in a key of the test's own.
func (x *explorer) mayOpen(s *evaluator, i session) bool {
	return i.before != "" && s.kvs[x.t.k.session(i.before)] == nil && s.kvs[x.t.k.node(i.sid)] == nil &&
		s.kvs["opened "+i.sid] == nil
}

// decide makes every call that is possible by what stands in s.
func (x *explorer) decide(s *evaluator) []*call {
	var calls []*call
	for _, id := range x.world.ids {
		calls = append(calls, x.starts(s, id)...)
		calls = append(calls, x.cancels(s, id)...)
	}
	for key, kv := range s.kvs {
		kind, rest, _ := strings.Cut(strings.TrimPrefix(key, x.t.k.root), "/")
		switch kind {
		case "pending":
			calls = append(calls, x.claims(s, kv)...)
		case "timer":
			calls = append(calls, x.matures(kv))
		case "claim":
			sid, id, _ := strings.Cut(rest, "/")
			if session := s.kvs[x.t.k.session(sid)]; session == nil || session.Lease == 0 {
				calls = append(calls, x.takeovers(s, sid, id, kv)...)
			} else if x.alive(s, sid) {
				calls = append(calls, x.outcomes(s, sid, id, kv)...)
			}
		case "session":
			calls = append(calls, x.endsSession(rest, kv))
		case "node":
			// A node that leaves does not look whether it still holds claims.
			if session := s.kvs[x.t.k.session(rest)]; session == nil || session.Lease == 0 {
				calls = append(calls, &call{
					transition: x.t.forgetNode(rest), kind: "forget", believe: askedNothing,
				})
			}
		}
	}
	return calls
}

func (x *explorer) starts(s *evaluator, id string) []*call {
	if s.kvs[x.t.k.process(id)] != nil {
		return nil
	}
	var calls []*call
	for seq, due := range map[int64]time.Time{1: {}, 2: startDue} {
		if !due.IsZero() && !x.world.late {
			continue
		}
		e := must(encodeSpec(Spec{ID: id, Kind: "k", Queue: "main", Disposition: Rerunnable, DueAt: due}, 100))
		tr := must(x.t.start(e, seq, x.stamp()))
		tr.name += fmt.Sprint(" by starter ", seq)
		calls = append(calls, &call{transition: tr, kind: "start", id: id, believe: justAsItWas})
	}
	return calls
}

func (x *explorer) cancels(s *evaluator, id string) []*call {
	there, ok := x.row(s, id)
	if !ok || there.ended() || s.kvs[x.t.k.request(id)] != nil {
		return nil
	}
	v := view(s.kvs) // of which cancel looks at the row, the request and the places
	tr, ends, err := x.t.cancel(v, there, Request{By: "me", At: x.stamp()}, x.nonce())
	if err != nil {
		panic(err)
	}
	if ends {
		return []*call{{transition: tr, kind: "cancel waiting", id: id, believe: justAsItWas}}
	}
	return []*call{{transition: tr, kind: "request", id: id, believe: x.requested}}
}

func (x *explorer) claims(s *evaluator, pending *mvccpb.KeyValue) []*call {
	e, _ := x.t.k.parsePending(string(pending.Key))
	e.revision = pending.ModRevision
	if queue := s.kvs[x.t.k.queue(e.Queue)]; queue != nil {
		return nil // paused
	}
	var calls []*call
	for _, incarnation := range x.world.sessions {
		sid := incarnation.sid
		if !x.alive(s, sid) {
			continue
		}
		value := claimValue{Queue: e.Queue, Kind: e.Kind, ClaimedAt: x.stamp(), Nonce: x.nonce()}
		calls = append(calls, x.taking("claim", sid, e.ID, value.Nonce, must(x.t.claim(x.holder(s, sid), e, value))))
	}
	return calls
}

// taking is a call that makes a claim.
func (x *explorer) taking(kind, sid, id, nonce string, tr transition) *call {
	tr.name += " by " + sid
	return &call{transition: tr, kind: kind, id: id, sid: sid, believe: func(_ *call, at *evaluator, applied bool) string {
		if held := hasNonce(at.kvs[x.t.k.claim(sid, id)], nonce); held != applied {
			return fmt.Sprintf("it believes that it holds the claim: %v; it does: %v", applied, held)
		}
		return ""
	}}
}

func (x *explorer) matures(timer *mvccpb.KeyValue) *call {
	e, _ := x.t.k.parsePending(string(timer.Value))
	return &call{transition: x.t.mature(timer, e), kind: "mature", id: e.ID, believe: askedNothing}
}

func (x *explorer) endsSession(sid string, kv *mvccpb.KeyValue) *call {
	tr := must(x.t.endSession(Node{Session: sid, created: kv.CreateRevision}, "dead", x.stamp()))
	return &call{transition: tr, kind: "end session", believe: askedNothing}
}

// outcomes is what the holder of a claim may write.
func (x *explorer) outcomes(s *evaluator, sid, id string, claim *mvccpb.KeyValue) []*call {
	there, ok := x.row(s, id)
	if !ok {
		return nil
	}
	h := x.holder(s, sid)
	c := Claim{ID: id, Fence: claim.ModRevision, Session: &Session{node: h.node}, row: there}
	if value, err := decodeClaim(claim); err == nil {
		c.ClaimedAt = value.ClaimedAt
	}
	var calls []*call
	add := func(kind, name string, tr transition, believe func(*call, *evaluator, bool) string) {
		tr.name += " " + name + " by " + sid
		calls = append(calls, &call{transition: tr, kind: kind, id: id, sid: sid, believe: believe})
	}
	if s.kvs[x.t.k.request(id)] != nil {
		e := ending{outcome: Cancelled, reason: "as asked", at: x.stamp()}
		add("end", "cancelled", must(x.t.end(h, c.attempted(e.at, ""), e, x.nonce())), justAsItWas)
	}
	c.entered = true
	e := ending{outcome: Completed, at: x.stamp()}
	add("end", "completed", must(x.t.end(h, c.attempted(e.at, ""), e, x.nonce())), justAsItWas)
	next := c.attempted(x.stamp(), "boom")
	next.Due, next.What = retryDue, dueRetry
	add("requeue", "after an error", must(x.t.requeue(h, next, x.nonce())), justAsItWas)
	next = c.attempted(x.stamp(), HandedBack)
	next.Due, next.What = time.Time{}, ""
	add("requeue", "handed back", must(x.t.requeue(h, next, x.nonce())), justAsItWas)
	c.entered = false
	next = c.attempted(x.stamp(), HandedBack)
	next.Due, next.What = time.Time{}, ""
	add("requeue", "never entered", must(x.t.requeue(h, next, x.nonce())), x.released(next))
	if x.world.unclaims {
		add("unclaim", "unread", x.t.unclaim(h, there.entry(), claim.ModRevision), askedNothing)
	}
	return calls
}

// takeovers is what anybody alive may make of an orphan.
func (x *explorer) takeovers(s *evaluator, dead, id string, claim *mvccpb.KeyValue) []*call {
	there, ok := x.row(s, id)
	o, err := orphan(Node{Session: dead, Name: dead[:1]}, claim)
	if !ok || err != nil {
		return nil
	}
	now := x.stamp()
	next := there
	next.endAttempt(o.node, o.revision, o.value.ClaimedAt, now, SessionLost)
	if q := s.kvs[x.t.k.request(id)]; q != nil {
		e := ending{outcome: Cancelled, err: SessionLost, at: now}
		return []*call{{
			transition: must(x.t.endOrphan(o, next, q, e, x.nonce())),
			kind:       "end orphan", id: id, believe: justAsItWas,
		}}
	}
	next.Adoptions++
	next.Due, next.What = time.Time{}, ""
	var calls []*call
	for _, incarnation := range x.world.sessions {
		sid := incarnation.sid
		if !x.alive(s, sid) {
			continue
		}
		value := claimValue{Queue: o.Queue, Kind: o.Kind, ClaimedAt: now, Nonce: x.nonce()}
		calls = append(calls, x.taking("adopt", sid, id, value.Nonce, must(x.t.adopt(x.holder(s, sid), o, next, value))))
		tr := must(x.t.requeueOrphan(x.holder(s, sid), o, next, x.nonce()))
		tr.name += " by " + sid
		calls = append(calls, &call{transition: tr, kind: "requeue orphan", id: id, sid: sid, believe: justAsItWas})
	}
	return calls
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// kinds is every transition that an exploration decided on.
func (x *explorer) kinds() []string {
	var kinds []string
	for _, calls := range x.possibles {
		for _, c := range calls {
			kinds = append(kinds, c.kind)
		}
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}
