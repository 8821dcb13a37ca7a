package registry

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The exploration walks through every state that the real transition functions
// can bring etcd into, breadth first, over the evaluator.
//
// A state is what etcd holds and the calls that are under way. A call is one
// guarded transaction that somebody made from what he read at some earlier
// state. It may be sent at any later time, any number of times: that is a
// slow request, one whose answer was lost and that is sent again, and a copy
// that lands after its sender gave up or died. Between any two sends anybody
// may do anything. So no actor needs a state of his own: whatever a node, a
// starter or a canceller may believe, what he can do is what he once read.
type explorer struct {
	t     table
	world world

	stamps int // times and nonces handed out, so that each is one of its own

	seen  map[string]bool
	queue []*state

	// Many states share what etcd holds, and so all that follows from it.
	possibles map[*evaluator][]*call
	happens   map[*evaluator][]event
	tells     map[*evaluator]string
	sends     map[look]event
	stands    map[look]string
	rows      map[*mvccpb.KeyValue]row // decoded
	hints     map[*mvccpb.KeyValue]endedSeries
	stories   map[story]bool
	arounds   map[place]around

	// base is the attempt that a series begins after, by what opened it.
	base map[string]int
}

// world bounds the exploration.
type world struct {
	name     string
	ids      []string
	sessions []session
	calls    int  // under way at a time
	large    bool // not to be explored again and again
	late     bool
	paused   bool // somebody pauses the queue, and resumes it
	fills    bool // etcd is nearly full at times
	meddled  bool // somebody detaches or recreates keys of sessions
	unclaims bool // nodes put back what they cannot run
	pruned   bool // somebody prunes what has ended

	disposition  Disposition // rerunnable if empty
	deadline     bool        // processes have one; clocks differ on whether it has passed
	maxAdoptions int
	series       int  // so many at the most; 0 is 1
	abandons     bool // somebody asks to abandon
	handsOff     bool // attempts hand off
	writes       bool // attempts write progress and steps
	testifies    bool // somebody proves deaths after sessions have ended
	comesBack    bool // a node's next session is that of the very same node
	uncancelled  bool // nobody cancels
	batches      bool // two calls may travel in one request, and no others are made
	careless     bool // also two of one id, as a fault of ours would
	// also is what further actors may do.
	also func(*explorer, *evaluator) []*call
	// spoil changes each transition before it is used, as a fault of ours
	// would.
	spoil func(*call)
}

// session is one incarnation of a node. It may begin once the one before it
// has ended.
type session struct {
	sid    string
	before string
}

// life is what a session has in common with the one that it replaces, where
// nodes come back.
func (w world) life(sid string) string {
	if !w.comesBack {
		return ""
	}
	return sid[:1]
}

// state is one node of the graph. from and step say how it was reached.
type state struct {
	store *evaluator
	calls []*call
	from  *state
	step  string
}

// call is a transition under way.
type call struct {
	transition
	kind string // for messages and for the mutations
	id   string // of the process, if it is about one
	sid  string // the session in whose name it is, if it is a node's write
	asks string // what somebody asks for who ends it at once
	// seen is what it is conditioned on, also where world.spoil took that away:
	// a state tells a call that is up to date from one that is not.
	seen []clientv3.Cmp
	// landed is how often it was applied, 2 for more. believe judges what its sender
	// makes of an answer.
	landed  int
	born    int64 // see bornAt
	believe func(c *call, at *evaluator, applied bool) string
}

// look is a call where it is to land.
type look struct {
	store *evaluator
	call  *call
}

// story is what a call would find if it were refused.
type story struct {
	call *call
	kvs  [4]*mvccpb.KeyValue
}

// place is a process in a state.
type place struct {
	store *evaluator
	id    string
}

// event is a step that may be taken.
type event struct {
	name string
	next *evaluator // nil if the call was refused
	call *call      // as it is afterwards, if it is one
	what string     // is wrong with it
}

// violation is what must not be, with the way to it.
type violation struct{ what, path string }

func (v *violation) Error() string { return v.what + "\n" + v.path }

func newExplorer(w world) *explorer {
	x := &explorer{
		t: table{newKeys("x")}, world: w,
		seen: map[string]bool{}, possibles: map[*evaluator][]*call{}, happens: map[*evaluator][]event{},
		tells: map[*evaluator]string{}, sends: map[look]event{}, stands: map[look]string{}, rows: map[*mvccpb.KeyValue]row{},
		hints: map[*mvccpb.KeyValue]endedSeries{}, stories: map[story]bool{}, arounds: map[place]around{},
		base: map[string]int{},
	}
	s := evaluator{revision: 1, kvs: map[string]*mvccpb.KeyValue{}}
	for _, incarnation := range w.sessions {
		if incarnation.before == "" {
			s = x.open(s, incarnation.sid)
		}
	}
	x.add(&state{store: &s, step: "begin"})
	return x
}

// explore visits every state and returns how many there are, or the first
// thing that must not be.
func (x *explorer) explore() (int, *violation) {
	for len(x.queue) > 0 {
		s := x.queue[0]
		x.queue[0], x.queue = nil, x.queue[1:]
		if v := x.expand(s); v != nil {
			return len(x.seen), v
		}
	}
	return len(x.seen), nil
}

func (x *explorer) expand(s *state) *violation {
	for i, c := range s.calls {
		e := x.send(s.store, c)
		if e.what != "" {
			return x.broken(s, e)
		}
		if e.next == nil {
			continue
		}
		calls := slices.Clone(s.calls)
		calls[i] = e.call
		x.add(&state{store: e.next, calls: calls, from: s, step: e.name})
		// Or no further copy of it is under way. That is so at once or never:
		// one that gets lost later comes to the same.
		x.add(&state{store: e.next, calls: slices.Delete(slices.Clone(calls), i, i+1), from: s, step: e.name + " for the last time"})
	}
	if v := x.batches(s); v != nil {
		return v
	}
	if len(s.calls) < x.world.calls {
		for _, c := range x.possible(s.store) {
			if !slices.ContainsFunc(s.calls, c.same) {
				x.add(&state{store: s.store, calls: append(slices.Clone(s.calls), c), from: s, step: "decide to " + c.name})
			}
		}
	}
	for _, e := range x.happen(s.store) {
		if e.what != "" {
			return x.broken(s, e)
		}
		x.add(&state{store: e.next, calls: s.calls, from: s, step: e.name})
	}
	return nil
}

// send lets a copy of a call reach etcd, and asks what its sender would make
// of the answer if he got it.
func (x *explorer) send(s *evaluator, c *call) event {
	e, ok := x.sends[look{s, c}]
	if !ok {
		e = x.land(s, c)
		x.sends[look{s, c}] = e
	}
	return e
}

func (x *explorer) land(s *evaluator, c *call) event {
	e := event{name: c.name}
	next, resp, err := s.txn(c.when, c.then, c.otherwise)
	if err != nil {
		e.what = err.Error()
		return e
	}
	after := *c
	if resp.Succeeded {
		after.landed = min(after.landed+1, 2) // more than once is all there is to know
		e.next, e.call = &next, &after
		e.what = x.wrong(s, e.next, e.call)
	}
	if e.what == "" {
		e.what = x.forgive(&next, &after, after.believe(&after, &next, resolve(c.transition, resp).applied))
	}
	return e
}

// wrong says what is wrong with a step, or with where it leads.
func (x *explorer) wrong(before, after *evaluator, c *call) string {
	if what := x.wrongStep(before, after, c); what != "" {
		return what
	}
	return x.wrongWith(after)
}

func (c *call) same(other *call) bool {
	return c.name == other.name && c.kind == other.kind && c.sid == other.sid
}

// add notes a state if it is a new one. A call that never landed and never
// will is dropped: nothing can come of it but a refusal.
func (x *explorer) add(s *state) {
	if gone := func(c *call) bool { return c.landed == 0 && x.over(s.store, c) }; slices.ContainsFunc(s.calls, gone) {
		s.calls = slices.DeleteFunc(slices.Clone(s.calls), gone)
	}
	key := x.canonical(s)
	if x.seen[key] {
		return
	}
	x.seen[key] = true
	x.queue = append(x.queue, s)
}

func (x *explorer) broken(s *state, e event) *violation {
	var steps []string
	for at := s; at != nil; at = at.from {
		steps = append(steps, "  "+at.step)
	}
	slices.Reverse(steps)
	steps = append(steps, "  "+e.name)
	at := s.store
	if e.next != nil {
		at = e.next
	}
	var held strings.Builder
	for _, key := range slices.Sorted(maps.Keys(at.kvs)) {
		held.WriteString("\n  " + tellKV(at.kvs[key]))
	}
	return &violation{e.name + ": " + e.what, "after\n" + strings.Join(steps, "\n") + "\nwith" + held.String()}
}

// stamp is a time that no other call has.
func (x *explorer) stamp() time.Time {
	x.stamps++
	return time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(x.stamps) * time.Second)
}

// nonce is one that no other call has.
func (x *explorer) nonce() string {
	x.stamps++
	return fmt.Sprint("nonce ", x.stamps)
}

// madeBefore says which of two nonces was handed out first.
func madeBefore(a, b string) bool {
	var n, m int
	_ = must(fmt.Sscanf(a+" "+b, "nonce %d nonce %d", &n, &m))
	return n < m
}

// possible is every call that somebody may decide on, by what stands there.
func (x *explorer) possible(s *evaluator) []*call {
	if calls, ok := x.possibles[s]; ok {
		return calls
	}
	var calls []*call
	for _, c := range x.decide(s) {
		if x.world.batches && !batched(c) {
			continue
		}
		c.seen, c.born = c.when, x.bornAt(s, c.id)
		if x.world.spoil != nil {
			x.world.spoil(c)
		}
		calls = append(calls, c)
	}
	for i, c := range calls { // the same of another series is another call
		for _, other := range calls[:i] {
			if c.same(other) && c.kind != "forget hint" {
				panic("two calls are told apart by nothing: " + c.kind + " " + c.name)
			}
		}
	}
	slices.SortStableFunc(calls, func(a, b *call) int { return cmp.Compare(a.name, b.name) })
	x.possibles[s] = calls
	return calls
}

// canonical is what two states have in common if the same can follow from
// both. Values hardly matter: what a row says of the past, and who asked for
// its end, is looked at by nobody but the senders of calls that may have
// written it, so it is told by what those make of it. Nor do revisions: each
// condition asks about one key alone, and holds or does not.
func (x *explorer) canonical(s *state) string {
	told, ok := x.tells[s.store]
	if !ok {
		told = x.tell(s.store)
		x.tells[s.store] = told
	}
	if len(s.calls) == 0 {
		return told
	}
	calls := make([]string, len(s.calls))
	for i, c := range s.calls {
		calls[i] = x.standing(s.store, c)
	}
	slices.Sort(calls)
	return told + strings.Join(calls, "")
}

func (x *explorer) tell(s *evaluator) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(s.kvs)) {
		switch kind, rest, _ := strings.Cut(strings.TrimPrefix(key, x.t.k.root), "/"); kind {
		case "done": // a name of its own each time
			if hint := fmt.Sprint("done ", x.hintOf(s.kvs[key]), " "); !x.world.pruned || !strings.Contains(b.String(), hint) {
				b.WriteString(hint)
			}
		case "timer": // a deadline's is the row's, whatever its time is
			b.WriteString(strings.TrimPrefix(key, x.t.k.timers()+strings.Split(rest, "/")[0]) + " ")
		case "process":
			there, _ := x.row(s, rest)
			fmt.Fprintf(&b, "%s %d %s %d %v %d ", rest, there.Seq, there.What, there.Series, there.ended(), there.Adoptions*min(x.world.maxAdoptions, 1))
			if there.spec.Disposition == OwnerBound {
				fmt.Fprint(&b, there.Attempt > x.base[there.Opened], " ")
			}
		case "session":
			fmt.Fprintf(&b, "%s %v %d ", rest, x.alive(s, rest), s.kvs[key].Lease)
		case "node":
			fmt.Fprintf(&b, "%s %v ", rest, x.node(s, rest).value.Evidence != "" && x.world.disposition == OwnerBound)
		case "request":
			q, _ := decodeRequest(s.kvs[key])
			fmt.Fprintf(&b, "%s %s ", key, q.What)
		default:
			b.WriteString(key + " ")
		}
	}
	return b.String()
}

// standing is what of a call matters from s on.
func (x *explorer) standing(s *evaluator, c *call) string {
	text, ok := x.stands[look{s, c}]
	if ok {
		return text
	}
	text = fmt.Sprintf("; %s, landed %d, over %v, recognised %v, forgotten %v:",
		c.name, c.landed, x.over(s, c), x.recognised(s, c), x.forgotten(s, c))
	for i := range c.seen {
		if s.compare(c.seen[i].GetCompare()) {
			text += fmt.Sprint(" ", i)
		}
	}
	x.stands[look{s, c}] = text
	return text
}

// recognised says whether a call's sender would find that it has landed.
func (x *explorer) recognised(s *evaluator, c *call) bool {
	told := story{call: c}
	for i, op := range c.otherwise {
		told.kvs[i] = s.kvs[string(op.KeyBytes())]
	}
	found, ok := x.stories[told]
	if ok {
		return found
	}
	v := view{}
	for _, kv := range told.kvs {
		if kv != nil {
			v[string(kv.Key)] = kv
		}
	}
	found = c.applied(v)
	x.stories[told] = found
	return found
}

// over says whether a call can never land again: it wants a key as it was at
// a revision, and the key has moved on.
func (x *explorer) over(s *evaluator, c *call) bool {
	return slices.ContainsFunc(c.when, func(w clientv3.Cmp) bool {
		p := w.GetCompare()
		wants := max(p.GetModRevision(), p.GetCreateRevision())
		return wants > 0 && p.Result == etcdserverpb.Compare_EQUAL && !s.compare(p) && !x.outer(p)
	})
}

// TestTransitionsKeepTheRules is the exploration of the transitions as they
// are.
func TestTransitionsKeepTheRules(t *testing.T) {
	t.Parallel()
	var kinds []string
	for _, w := range worlds() {
		t.Run(w.name, func(t *testing.T) {
			began := time.Now()
			x := newExplorer(w)
			states, v := x.explore()
			t.Logf("%d states in %s", states, time.Since(began).Round(time.Millisecond))
			if v != nil {
				t.Fatal(v)
			}
			kinds = append(kinds, x.kinds()...)
		})
	}
	slices.Sort(kinds)
	want := []string{
		"abandon orphan", "abandon parked", "abandon request", "adopt", "cancel waiting", "claim", "deadline dropped",
		"deadline of waiting", "deadline request", "end", "end detached", "end external", "end orphan", "end session",
		"forget", "forget hint", "hand off", "mature", "prune", "reopen", "request", "requeue", "requeue orphan", "start", "testify", "unclaim", "write",
	}
	if got := slices.Compact(kinds); !slices.Equal(got, want) {
		t.Errorf("explored %v, want %v", got, want)
	}
}
