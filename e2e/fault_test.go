package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"
)

// fault is one thing that goes wrong, after a pause, for a while.
type fault struct {
	After, Lasts time.Duration
	What         string
	Target       int // of the nodes or members, modulo how many there are
}

func (f fault) String() string {
	return fmt.Sprintf("after %s: %s %d for %s", f.After, f.What, f.Target, f.Lasts)
}

// faults are what can go wrong. Each returns what makes it well again.
var faults = map[string]func(*herd, fault) (undo func()){
	"node killed":        (*herd).killNode,
	"node stopped":       func(h *herd, f fault) func() { return h.signalNode(f, syscall.SIGTERM) },
	"node frozen":        (*herd).freezeNode,
	"node cut off":       func(h *herd, f fault) func() { return h.nodeNetwork(f, (*proxy).cut) },
	"node half-open":     func(h *herd, f fault) func() { return h.nodeNetwork(f, (*proxy).blackhole) },
	"node deaf":          func(h *herd, f fault) func() { return h.nodeNetwork(f, (*proxy).holdDown) },
	"node mute":          func(h *herd, f fault) func() { return h.nodeNetwork(f, (*proxy).holdUp) },
	"node slow":          func(h *herd, f fault) func() { return h.nodeNetwork(f, slowly) },
	"connections reset":  func(h *herd, f fault) func() { h.node(f).network((*proxy).reset); return nil },
	"clients half-open":  func(h *herd, _ fault) func() { return h.clientNetwork((*proxy).blackhole) },
	"clients deaf":       func(h *herd, _ fault) func() { return h.clientNetwork((*proxy).holdDown) },
	"clients cut off":    func(h *herd, _ fault) func() { return h.clientNetwork((*proxy).cut) },
	"leader moved":       func(h *herd, _ fault) func() { h.cluster.moveLeader(); return nil },
	"leader isolated":    (*herd).isolateLeader,
	"member killed":      (*herd).killMember,
	"member frozen":      (*herd).freezeMember,
	"member slow":        (*herd).slowMember,
	"majority away":      (*herd).majorityAway,
	"session deleted":    func(h *herd, f fault) func() { return h.session(f, deleteKey) },
	"lease revoked":      func(h *herd, f fault) func() { return h.session(f, revokeLease) },
	"session off lease":  func(h *herd, f fault) func() { return h.session(f, detach) },
	"history compacted":  (*herd).compact,
	"two nodes replaced": (*herd).replaceTwo,
}

func slowly(p *proxy) { p.slow(400 * time.Millisecond) }

// schedules are faults, each once in every order, until the time is over.
func schedules(total time.Duration) *rapid.Generator[[]fault] {
	names := slices.Sorted(maps.Keys(faults))
	after := rapid.SampledFrom([]time.Duration{300 * time.Millisecond, 50 * time.Millisecond, 700 * time.Millisecond, 1500 * time.Millisecond})
	lasts := rapid.SampledFrom([]time.Duration{2 * time.Second, 500 * time.Millisecond, 4 * time.Second, 6 * time.Second, 100 * time.Millisecond})
	return rapid.Custom(func(t *rapid.T) (all []fault) {
		for at := time.Duration(0); ; {
			for _, name := range rapid.Permutation(names).Draw(t, "faults") {
				f := fault{
					After: after.Draw(t, "after"), Lasts: lasts.Draw(t, "lasts"),
					What: name, Target: rapid.IntRange(0, 59).Draw(t, "target"),
				}
				if at += f.After; at > total {
					return all
				}
				all = append(all, f)
			}
		}
	})
}

// herd is all that a soak runs, and what is done to it.
type herd struct {
	t       *testing.T
	cluster *cluster
	nodes   []*node
	clients []*proxy // the ways of all clients to the members
	etcd    *clientv3.Client
	root    string // of the keys
	trace   *trace
	meant   map[*node]bool // to be gone

	mu      sync.Mutex // guards the rest
	excuses []excuse
}

// inject lets the faults happen, one after the other, and makes each well when its time is over. In the end all is well.
func (h *herd) inject(all []fault) {
	type later struct {
		at   time.Time
		undo func()
	}
	var undos []later
	until := func(at time.Time) {
		for {
			slices.SortStableFunc(undos, func(a, b later) int { return a.at.Compare(b.at) })
			next := at
			if len(undos) > 0 && undos[0].at.Before(at) {
				next = undos[0].at
			}
			<-time.After(time.Until(next))
			if next.Equal(at) {
				return
			}
			undos[0].undo()
			undos = undos[1:]
		}
	}
	for _, f := range all {
		until(time.Now().Add(f.After))
		if undo := faults[f.What](h, f); undo != nil {
			undos = append(undos, later{time.Now().Add(f.Lasts), undo})
		}
	}
	for _, u := range undos {
		until(u.at.Add(time.Nanosecond))
	}
}

// heal makes everything well, and tells of nodes that have ended by themselves.
func (h *herd) heal() {
	h.t.Helper()
	h.cluster.heal()
	for _, p := range h.clients {
		p.heal()
	}
	for _, n := range h.nodes {
		n.network((*proxy).heal)
		h.thaw(n)
		eventually(h.t, "node "+n.name+" to take work", func() bool {
			h.restore(n)
			return n.isReady()
		})
	}
}

func (h *herd) node(f fault) *node     { return h.nodes[f.Target%len(h.nodes)] }
func (h *herd) member(f fault) *member { return h.cluster.members[f.Target%len(h.cluster.members)] }

// restore starts a node that is gone. One that could not reach etcd when it started says so and ends: to start it again
// is the business of whoever started it. Once it takes work it has to live.
func (h *herd) restore(n *node) {
	if n.alive() && !h.meant[n] {
		return
	}
	if !h.meant[n] && n.isReady() {
		h.t.Errorf("node %s ended by itself:\n%s", n.name, n.said())
	}
	<-n.exited
	h.meant[n] = false
	n.start()
}

func (h *herd) killNode(f fault) func() {
	n := h.node(f)
	h.meant[n] = true
	n.kill()
	return func() { h.restore(n) }
}

func (h *herd) signalNode(f fault, s syscall.Signal) func() {
	n := h.node(f)
	h.meant[n] = true
	_ = n.cmd.Process.Signal(s) // it may be gone
	return func() {
		h.thaw(n)
		n.network((*proxy).heal) // a node that can't reach etcd takes its time to stop
		h.restore(n)
	}
}

func (h *herd) replaceTwo(f fault) func() {
	f.Target++
	first := h.killNode(f)
	f.Target++
	second := h.killNode(f)
	return func() { first(); second() }
}

func (h *herd) freezeNode(f fault) func() {
	n := h.node(f)
	h.excuse(excuse{node: n.name, from: time.Now()})
	n.freeze()
	return func() { h.thaw(n) }
}

func (h *herd) thaw(n *node) {
	n.thaw()
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.excuses {
		if h.excuses[i].node == n.name && h.excuses[i].to.IsZero() {
			h.excuses[i].to = time.Now()
		}
	}
}

func (h *herd) excuse(x excuse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.excuses = append(h.excuses, x)
}

func (h *herd) nodeNetwork(f fault, what func(*proxy)) func() {
	n := h.node(f)
	n.network(what)
	return func() { n.network((*proxy).heal) }
}

func (h *herd) clientNetwork(what func(*proxy)) func() {
	for _, p := range h.clients {
		what(p)
	}
	return func() {
		for _, p := range h.clients {
			p.heal()
		}
	}
}

func (h *herd) isolateLeader(fault) func() {
	if m := h.cluster.leads(); m != nil {
		h.cluster.isolate(m)
	}
	return h.cluster.heal
}

func (h *herd) killMember(f fault) func() {
	h.member(f).kill()
	return h.cluster.heal
}

func (h *herd) freezeMember(f fault) func() {
	if m := h.member(f); m.alive() {
		m.freeze()
	}
	return h.cluster.heal
}

func (h *herd) slowMember(f fault) func() {
	h.member(f).slow(150 * time.Millisecond)
	return h.cluster.heal
}

func (h *herd) majorityAway(f fault) func() {
	h.killMember(f)
	f.Target++
	return h.freezeMember(f)
}

// session does to a session what no drover does.
func (h *herd) session(f fault, what func(context.Context, *clientv3.Client, string, clientv3.LeaseID) error) func() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	got, err := h.etcd.Get(ctx, h.root+"session/", clientv3.WithPrefix())
	if err != nil || len(got.Kvs) == 0 {
		return nil // etcd is away, or they are
	}
	kv := got.Kvs[f.Target%len(got.Kvs)]
	var value struct{ Node string }
	if json.Unmarshal(kv.Value, &value) == nil {
		h.excuse(excuse{node: value.Node, from: time.Now(), to: time.Now().Add(soakTTL / 2), byHand: true})
	}
	_ = what(ctx, h.etcd, string(kv.Key), clientv3.LeaseID(kv.Lease)) // as above
	return nil
}

func deleteKey(ctx context.Context, c *clientv3.Client, key string, _ clientv3.LeaseID) error {
	_, err := c.Delete(ctx, key)
	return err
}

func revokeLease(ctx context.Context, c *clientv3.Client, _ string, id clientv3.LeaseID) error {
	_, err := c.Revoke(ctx, id)
	return err
}

func detach(ctx context.Context, c *clientv3.Client, key string, _ clientv3.LeaseID) error {
	_, err := c.Put(ctx, key, `{"node":"nobody"}`)
	return err
}

// compact takes the history away, of which the trace has read what it needs.
func (h *herd) compact(fault) func() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _ = h.etcd.Compact(ctx, h.trace.next()-1) // etcd may be away
	return nil
}
