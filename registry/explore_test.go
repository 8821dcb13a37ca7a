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

	seen   map[string]bool
	queue  []*state
	begun  map[*evaluator][]*call // what can be begun there
	looked map[look]bool          // which answers were checked
	stands map[look]string
	rows   map[string]row // decoded, by value
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

type look struct {
	store *evaluator
	call  *call
}

// violation is what must not be, with the way to it.
type violation struct{ what, path string }

func (v *violation) Error() string { return v.what + "\n" + v.path }

func newExplorer(w world) *explorer {
	x := &explorer{
		t: table{newKeys("x")}, world: w,
		seen: map[string]bool{}, begun: map[*evaluator][]*call{}, looked: map[look]bool{}, stands: map[look]string{}, rows: map[string]row{},
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
	if what := x.wrongWith(s.store); what != "" {
		return x.broken(s, what)
	}
	for i, c := range s.calls {
		if v := x.send(s, i, c); v != nil {
			return v
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
	return x.happen(s)
}

// send lets a copy of a call reach etcd, and asks what its sender would make
// of the answer if he got it.
func (x *explorer) send(s *state, i int, c *call) *violation {
	before := look{s.store, c}
	if x.looked[before] {
		return nil // nothing changed, and the answer was looked at
	}
	next, resp, err := s.store.txn(c.when, c.then, c.otherwise)
	if err != nil {
		return x.broken(s, c.name+": "+err.Error())
	}
	after := *c
	if resp.Succeeded {
		after.landed = min(after.landed+1, 2) // more than once is all there is to know
	}
	if what := after.believe(&after, &next, resolve(c.transition, resp).applied); what != "" {
		return x.broken(s, c.name+": "+what)
	}
	if !resp.Succeeded {
		x.looked[before] = true
		return nil
	}
	if what := x.wrongStep(s.store, &next, &after); what != "" {
		return x.broken(s, c.name+": "+what)
	}
	calls := slices.Clone(s.calls)
	calls[i] = &after
	x.add(&state{store: &next, calls: calls, from: s, step: c.name})
	return nil
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

func (x *explorer) broken(s *state, what string) *violation {
	var steps []string
	for at := s; at != nil; at = at.from {
		steps = append(steps, "  "+at.step)
	}
	slices.Reverse(steps)
	var held strings.Builder
	for _, key := range slices.Sorted(maps.Keys(s.store.kvs)) {
		held.WriteString("\n  " + tellKV(s.store.kvs[key]))
	}
	return &violation{what, "after\n" + strings.Join(steps, "\n") + "\nwith" + held.String()}
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
	if calls, ok := x.begun[s]; ok {
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
	x.begun[s] = calls
	return calls
}

// canonical is what two states have in common if the same can follow from
// both. Values hardly matter: what a row says of the past, and who asked for
// its end, is looked at by nobody but the senders of calls that may have
// written it, so it is told by what those make of it. Nor do revisions: each
// condition asks about one key alone, and holds or does not.
func (x *explorer) canonical(s *state) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(s.store.kvs)) {
		switch kind, rest, _ := strings.Cut(strings.TrimPrefix(key, x.t.k.root), "/"); kind {
		case "done": // a name of its own each time
			b.WriteString("done ")
		case "process":
			there, _ := x.row(s.store, rest)
			fmt.Fprintf(&b, "%s %d %s %v ", rest, there.Seq, there.What, there.ended())
		case "session":
			fmt.Fprintf(&b, "%s %v %d ", rest, x.alive(s.store, rest), s.store.kvs[key].Lease)
		default:
			b.WriteString(key + " ")
		}
	}
	calls := make([]string, len(s.calls))
	for i, c := range s.calls {
		calls[i] = x.standing(s.store, c)
	}
	slices.Sort(calls)
	return b.String() + strings.Join(calls, "")
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
