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
	rows      map[string]row // decoded, by value
}

// world bounds the exploration.
type world struct {
	name     string
	ids      []string
	sessions []session
	calls    int // under way at a time
	late     bool
	paused   bool // somebody pauses the queue
	meddled  bool // somebody detaches or recreates keys of sessions
	unclaims bool // nodes put back what they cannot run
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
	// seen is what it is conditioned on, also where world.spoil took that away:
	// a state tells a call that is up to date from one that is not.
	seen []clientv3.Cmp
	// landed is how often it was applied, 2 for more. believe judges what its sender
	// makes of an answer.
	landed  int
	believe func(c *call, at *evaluator, applied bool) string
}

// look is a call where it is to land.
type look struct {
	store *evaluator
	call  *call
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
		tells: map[*evaluator]string{}, sends: map[look]event{}, stands: map[look]string{}, rows: map[string]row{},
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
		if e.next != nil {
			calls := slices.Clone(s.calls)
			calls[i] = e.call
			x.add(&state{store: e.next, calls: calls, from: s, step: e.name})
		}
		x.add(&state{store: s.store, calls: slices.Delete(slices.Clone(s.calls), i, i+1), from: s, step: "forget " + c.name})
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
		e.what = after.believe(&after, &next, resolve(c.transition, resp).applied)
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

// possible is every call that somebody may decide on, by what stands there.
func (x *explorer) possible(s *evaluator) []*call {
	if calls, ok := x.possibles[s]; ok {
		return calls
	}
	var calls []*call
	for _, c := range x.decide(s) {
		c.seen = c.when
		if x.world.spoil != nil {
			x.world.spoil(c)
		}
		calls = append(calls, c)
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
			b.WriteString("done ")
		case "process":
			there, _ := x.row(s, rest)
			fmt.Fprintf(&b, "%s %d %s %v ", rest, there.Seq, there.What, there.ended())
		case "session":
			fmt.Fprintf(&b, "%s %v %d ", rest, x.alive(s, rest), s.kvs[key].Lease)
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
	_, resp, err := s.txn(nil, c.otherwise, nil)
	if err != nil {
		panic(err)
	}
	text = fmt.Sprintf("; %s, landed %d, over %v, recognised %v:", c.name, c.landed, x.over(s, c), c.applied(newView(resp.Responses)))
	for i := range c.seen {
		if s.compare(c.seen[i].GetCompare()) {
			text += fmt.Sprint(" ", i)
		}
	}
	x.stands[look{s, c}] = text
	return text
}

// over says whether a call can never land again: it wants a key as it was at
// a revision, and the key has moved on.
func (x *explorer) over(s *evaluator, c *call) bool {
	return slices.ContainsFunc(c.when, func(w clientv3.Cmp) bool {
		p := w.GetCompare()
		wants := max(p.GetModRevision(), p.GetCreateRevision())
		return wants > 0 && p.Result == etcdserverpb.Compare_EQUAL && !s.compare(p)
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
		"adopt", "cancel waiting", "claim", "end", "end orphan", "end session", "forget", "mature",
		"request", "requeue", "requeue orphan", "start", "unclaim",
	}
	if got := slices.Compact(kinds); !slices.Equal(got, want) {
		t.Errorf("explored %v, want %v", got, want)
	}
}
