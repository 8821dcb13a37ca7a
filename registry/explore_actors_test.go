package registry

import (
	"cmp"
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

// open begins a session as package lease does: both keys at one revision.
func (x *explorer) open(s evaluator, sid string) evaluator {
	next := s.putOnLease(x.t.k.session(sid), "open", leaseOf(sid))
	next.put(x.t.k.node(sid), must(encode(nodeValue{Life: x.world.life(sid)})), 0)
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
		if here != nil && x.world.meddled && here.Lease == 0 {
			add(sid+" is attached again", s.putOnLease(key, "attached", leaseOf(sid)))
		}
		if here == nil && x.mayOpen(s, incarnation) {
			next := x.open(*s, sid)
			next.put("opened "+sid, nil, 0)
			add(sid+" opens", next)
		}
	}
	switch key := x.t.k.queue("main"); {
	case x.world.paused && s.kvs[key] == nil:
		add("the queue is paused", s.putOnLease(key, `{"paused":true}`, 0))
	case x.world.paused:
		add("the queue is resumed", s.drop(key))
	}
	switch key := x.t.k.full(); {
	case x.world.fills && s.kvs[key] == nil:
		add("etcd is nearly full", s.putOnLease(key, `{}`, 0))
	case x.world.fills:
		add("etcd has room again", s.drop(key))
	}
	x.happens[s] = events
	return events
}

// mayOpen says whether the incarnation before is over and this one has not
// been. What shows that is a counter in a key of the test's own. A node that
// comes back does not know whether its last session stands.
func (x *explorer) mayOpen(s *evaluator, i session) bool {
	return i.before != "" && (x.world.comesBack || s.kvs[x.t.k.session(i.before)] == nil) && s.kvs[x.t.k.node(i.sid)] == nil &&
		!x.opened(s, i)
}

func (x *explorer) opened(s *evaluator, i session) bool { return s.kvs["opened "+i.sid] != nil }

// node is what the roster says of one incarnation.
func (x *explorer) node(s *evaluator, sid string) Node {
	var nodes, sessions []*mvccpb.KeyValue
	for _, incarnation := range x.world.sessions {
		if life := x.world.life(sid); sid != incarnation.sid && (life == "" || life != x.world.life(incarnation.sid)) {
			continue // it is of no interest
		}
		if kv := s.kvs[x.t.k.node(incarnation.sid)]; kv != nil {
			nodes = append(nodes, kv)
		}
		if kv := s.kvs[x.t.k.session(incarnation.sid)]; kv != nil {
			sessions = append(sessions, kv)
		}
	}
	roster := (&Registry{keys: x.t.k}).parseRoster(nodes, sessions)
	if i := slices.IndexFunc(roster, func(n Node) bool { return n.Session == sid }); i >= 0 {
		roster[i].Name = sid[:1]
		return roster[i]
	}
	return Node{Session: sid}
}

// decide makes every call that is possible by what stands in s.
func (x *explorer) decide(s *evaluator) []*call {
	var calls []*call
	for _, id := range x.world.ids {
		calls = append(calls, x.starts(s, id)...)
		calls = append(calls, x.asks(s, id)...)
		calls = append(calls, x.outside(s, id)...)
		calls = append(calls, x.reopens(s, id)...)
	}
	for key, kv := range s.kvs {
		kind, rest, _ := strings.Cut(strings.TrimPrefix(key, x.t.k.root), "/")
		switch kind {
		case "pending":
			calls = append(calls, x.claims(s, kv)...)
		case "timer":
			calls = append(calls, x.matures(s, kv)...)
		case "claim":
			sid, id, _ := strings.Cut(rest, "/")
			if session := s.kvs[x.t.k.session(sid)]; session == nil || session.Lease == 0 {
				calls = append(calls, x.takeovers(s, sid, id, kv)...)
			} else if x.alive(s, sid) {
				calls = append(calls, x.outcomes(s, sid, id, kv)...)
			}
		case "done":
			calls = append(calls, x.prunes(s, kv)...)
		case "session":
			calls = append(calls, x.endsSession(s, rest))
		case "node":
			calls = append(calls, x.buries(s, rest)...)
		}
	}
	if x.world.also != nil {
		calls = append(calls, x.world.also(x, s)...)
	}
	for _, c := range calls {
		if c.kind == "forget hint" {
			c.name = "forget a hint of " + c.id
		}
		if there, ok := x.row(s, c.id); ok && x.world.series > 1 {
			c.name += fmt.Sprint(", series ", there.Series)
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
		spec := Spec{
			ID: id, Kind: "k", Queue: "main", DueAt: due,
			Disposition: cmp.Or(x.world.disposition, Rerunnable), MaxAdoptions: x.world.maxAdoptions,
		}
		if x.world.deadline {
			spec.Deadline = Duration(10 * 365 * 24 * time.Hour)
		}
		tr := must(x.t.start(must(encodeSpec(spec, 100)), seq, x.stamp()))
		tr.name += fmt.Sprint(" by starter ", seq)
		calls = append(calls, &call{transition: tr, kind: "start", id: id, believe: x.started})
	}
	return calls
}

// asks is what people may ask for. Each sees the whole state.
func (x *explorer) asks(s *evaluator, id string) []*call {
	there, ok := x.row(s, id)
	if !ok || there.ended() {
		return nil
	}
	v := view(s.kvs) // of which they look at the row, the request and the places
	var calls []*call
	if !x.world.uncancelled {
		tr, ends, err := x.t.ask(v, there, Request{By: "me", At: x.stamp()}, x.nonce())
		switch {
		case err != nil:
			panic(err)
		case ends:
			calls = append(calls, &call{transition: tr, kind: "cancel waiting", id: id, believe: justAsItWas})
		case tr.name != "":
			calls = append(calls, &call{transition: tr, kind: "request", id: id, believe: x.requested(there)})
		}
	}
	if x.world.abandons {
		calls = append(calls, x.abandons(s, v, there)...)
	}
	return calls
}

func (x *explorer) abandons(s *evaluator, v view, there row) []*call {
	q := Request{What: RequestAbandon, By: "me", At: x.stamp()}
	for _, incarnation := range x.world.sessions {
		claim := s.kvs[x.t.k.claim(incarnation.sid, there.ID)]
		if claim == nil || x.node(s, incarnation.sid).created != 0 {
			continue
		}
		o := must(orphan(x.node(s, incarnation.sid), claim))
		tr := must(x.t.abandonOrphan(o, there, v[x.t.k.request(there.ID)], q, x.nonce()))
		tr.name = "abandon orphan " + there.ID
		return []*call{{transition: tr, kind: "abandon orphan", id: there.ID, asks: RequestAbandon, believe: justAsItWas}}
	}
	tr, ends, err := x.t.ask(v, there, q, x.nonce())
	if err != nil || tr.name == "" {
		return nil // it waits to be claimed, or somebody has asked for it
	}
	tr.name = "abandon: " + tr.name
	if ends {
		return []*call{{transition: tr, kind: "abandon parked", id: there.ID, asks: RequestAbandon, believe: justAsItWas}}
	}
	return []*call{{transition: tr, kind: "abandon request", id: there.ID, believe: x.requested(there)}}
}

func (x *explorer) claims(s *evaluator, pending *mvccpb.KeyValue) []*call {
	e, _ := x.t.k.parsePending(string(pending.Key))
	e.revision = pending.ModRevision
	e.read(pending.Value)
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

// matures is what a clock makes of a timer. It may be any node's, and call
// anything due.
func (x *explorer) matures(s *evaluator, timer *mvccpb.KeyValue) []*call {
	due, id, what, _ := x.t.k.parseTimer(string(timer.Key))
	if what == dueDeadline {
		return x.expires(s, timer, id, due)
	}
	e, _ := x.t.k.parsePending(string(timer.Value))
	return []*call{{transition: x.t.mature(timer, e), kind: "mature", id: id, believe: askedNothing}}
}

func (x *explorer) expires(s *evaluator, timer *mvccpb.KeyValue, id string, due time.Time) []*call {
	there, ok := x.row(s, id)
	if !ok {
		return nil
	}
	v, kind := view(s.kvs), "deadline request"
	tr := must(x.t.expire(timer, v, there, due, x.stamp(), x.nonce()))
	switch ends := slices.ContainsFunc(x.t.places(there), func(place string) bool { return v[place] != nil }); {
	case ends && !there.ended():
		kind = "deadline of waiting"
	case there.ended() || v[x.t.k.request(id)] != nil:
		kind = "deadline dropped"
	}
	return []*call{{transition: tr, kind: kind, id: id, believe: askedNothing}}
}

func (x *explorer) endsSession(s *evaluator, sid string) *call {
	n := x.node(s, sid)
	if !n.Alive {
		return &call{transition: x.t.endDetached(n), kind: "end detached", believe: askedNothing}
	}
	return &call{transition: must(x.t.endSession(n, "dead", x.stamp())), kind: "end session", believe: askedNothing}
}

// buries is what others do about a node whose session is over.
func (x *explorer) buries(s *evaluator, sid string) []*call {
	n := x.node(s, sid)
	if n.Alive {
		return nil
	}
	// A node that leaves does not look whether it still holds claims.
	calls := []*call{{transition: x.t.forgetNode(sid), kind: "forget", believe: askedNothing}}
	if x.world.testifies && n.value.Evidence == "" && n.created == 0 {
		calls = append(calls, &call{
			transition: must(x.t.testify(n, "dead", x.stamp())), kind: "testify", believe: askedNothing,
		})
	}
	return calls
}

// outcomes is what the holder of a claim may write.
func (x *explorer) outcomes(s *evaluator, sid, id string, claim *mvccpb.KeyValue) []*call {
	there, ok := x.row(s, id)
	if !ok {
		return nil
	}
	h := x.holder(s, sid)
	c := &Claim{ID: id, Fence: claim.ModRevision, Attempt: there.Attempt + 1, Session: &Session{node: h.node}, row: there}
	if value, err := decodeClaim(claim); err == nil {
		c.ClaimedAt = value.ClaimedAt
	}
	var calls []*call
	add := func(kind, name string, tr transition, believe func(*call, *evaluator, bool) string) {
		tr.name += " " + name + " by " + sid
		calls = append(calls, &call{transition: tr, kind: kind, id: id, sid: sid, believe: believe})
	}
	ends := func(name string, e ending) {
		e.traces = c.leavesTraces()
		add("end", name, must(x.t.end(h, c.attempted(e.at, e.err), e, x.nonce())), justAsItWas)
	}
	back := func(kind, name string, next row, believe func(*call, *evaluator, bool) string) {
		add(kind, name, must(x.t.requeue(h, next, x.nonce())), believe)
	}
	q := x.asked(s, id)
	if q != nil && !x.world.writes { // who writes has entered it
		ends("as asked", q.ending("", x.stamp()))
	}
	next := c.attempted(x.stamp(), HandedBack)
	next.Due, next.What = time.Time{}, ""
	if !x.world.writes {
		back("requeue", "never entered", next, x.released(next))
	}
	if x.world.unclaims {
		add("unclaim", "unread", x.t.unclaim(h, there.entry(), claim.ModRevision), askedNothing)
	}
	c.entered, c.written.any = true, x.world.writes
	if q != nil {
		ends("as asked after it was entered", q.ending("", x.stamp()))
	}
	ends("completed", ending{outcome: Completed, at: x.stamp()})
	if c.mayGoBack() == nil {
		next = c.attempted(x.stamp(), "boom")
		next.Due, next.What = retryDue, dueRetry
		back("requeue", "after an error", next, justAsItWas)
		next = c.attempted(x.stamp(), HandedBack)
		next.Due, next.What = time.Time{}, ""
		back("requeue", "handed back", next, justAsItWas)
	} else {
		ends("abandoned", abandonOwn(h, x.stamp(), ""))
	}
	if x.world.handsOff {
		next = c.attempted(x.stamp(), HandedOff)
		next.Due, next.What = time.Time{}, whereParked
		back("hand off", "handed off", next, justAsItWas)
	}
	if x.world.writes {
		for _, key := range []string{x.t.k.progress(id), x.t.k.step(id, "one")} {
			seen := view(s.kvs).modRevision(key)
			tr := x.t.write(h, c, key, seen, must1(encode(wroteValue{Attempt: c.Attempt, Nonce: x.nonce()})))
			add("write", fmt.Sprint("over something: ", seen != 0), tr, x.overwritten(key, c.Fence))
		}
	}
	return calls
}

// takeovers is what anybody alive may make of an orphan. Where there is a
// deadline, their clocks differ on whether it has passed.
func (x *explorer) takeovers(s *evaluator, dead, id string, claim *mvccpb.KeyValue) []*call {
	there, ok := x.row(s, id)
	o, err := orphan(x.node(s, dead), claim)
	if !ok || err != nil {
		return nil
	}
	calls := x.takesOver(s, o, there, x.stamp())
	if x.world.deadline {
		for _, c := range x.takesOver(s, o, there, x.stamp().AddDate(20, 0, 0)) {
			if c.kind == "end orphan" { // there is no other way
				c.name += " too late"
				calls = append(calls, c)
			}
		}
	}
	return calls
}

func (x *explorer) takesOver(s *evaluator, o Orphan, there row, now time.Time) []*call {
	q := s.kvs[x.t.k.request(o.ID)]
	next, e, f := x.t.takeOver(o, there, q, now)
	switch f {
	case fateEnd:
		return []*call{{
			transition: must(x.t.endOrphan(o, next, q, e, x.nonce())),
			kind:       "end orphan", id: o.ID, believe: justAsItWas,
		}}
	case fateStay:
		return nil
	default:
	}
	var calls []*call
	for _, incarnation := range x.world.sessions {
		sid := incarnation.sid
		if !x.alive(s, sid) {
			continue
		}
		g := readGate(s.kvs[x.t.k.queue(o.Queue)])
		value := claimValue{Queue: o.Queue, Kind: o.Kind, ClaimedAt: now, Nonce: x.nonce()}
		if !g.paused {
			calls = append(calls, x.taking("adopt", sid, o.ID, value.Nonce, must(x.t.adopt(x.holder(s, sid), o, next, value, g))))
		}
		tr := must(x.t.requeueOrphan(x.holder(s, sid), o, next, x.nonce()))
		tr.name += " by " + sid
		calls = append(calls, &call{transition: tr, kind: "requeue orphan", id: o.ID, sid: sid, believe: justAsItWas})
	}
	return calls
}

// outside is what is done about a process that is parked, by whoever does it.
func (x *explorer) outside(s *evaluator, id string) []*call {
	there, ok := x.row(s, id)
	place := s.kvs[x.t.k.parked(id)]
	if !ok || there.ended() || place == nil {
		return nil
	}
	e := ending{outcome: Completed, at: x.stamp(), evidence: &Evidence{What: EvidenceAuthority, By: "them"}}
	tr := must(x.t.endWaiting(place, there, e, x.nonce()))
	tr.name = "end external " + id
	return []*call{{transition: tr, kind: "end external", id: id, believe: justAsItWas}}
}

// reopens begins the next series. The clock is set back, so that the keys of
// its timers are those of the series before.
func (x *explorer) reopens(s *evaluator, id string) []*call {
	there, ok := x.row(s, id)
	if !ok || !there.ended() || there.Series >= x.world.series {
		return nil
	}
	nonce := x.nonce()
	x.base[nonce] = there.Attempt
	tr, _, err := x.t.reopen(s.kvs[x.t.k.process(id)], there, 3, there.CreatedAt, nonce)
	if err != nil {
		panic(err)
	}
	return []*call{{transition: tr, kind: "reopen", id: id, believe: justAsItWas}}
}

func must1(b []byte, err error) string { return string(must(b, err)) }

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
