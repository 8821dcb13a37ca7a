package e2e

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
)

// takeover is a node that runs all there is, among it one that is owner-bound, and another one with room for as much.
type takeover struct {
	client
	etcd  *clientv3.Client
	count int
	first *program
}

// newTakeover starts them; args are for both nodes.
func newTakeover(t *testing.T, args ...string) *takeover {
	t.Helper()
	server := etcdtest.New(t)
	o := &takeover{client: client{t, server.Endpoint()}, etcd: server.Client(t), count: 200}
	if *long {
		o.count = 1000
	}
	serve := func(node string) *program {
		all := []string{"serve", "--endpoints", o.endpoint, "--node", node, "--max-running", fmt.Sprint(o.count + 1)}
		p := launch(t, append(all, args...)...)
		p.says("ready node=" + node + " ")
		return p
	}
	o.first = serve("first")
	reg, err := registry.Open(t.Context(), o.etcd, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reg.Close() }()
	sleep := func(id string, d registry.Disposition) registry.Spec {
		return registry.Spec{ID: id, Kind: "sleep", Disposition: d, Input: []byte(`{"duration":"1h"}`)}
	}
	specs := []registry.Spec{sleep("own", registry.OwnerBound)}
	for i := range o.count {
		specs = append(specs, sleep(fmt.Sprint("p", i), registry.Rerunnable))
	}
	for _, r := range reg.StartMany(t.Context(), specs, registry.StartManyOptions{}) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	eventually(t, "the first node to run all", func() bool {
		claims, err := o.etcd.Get(t.Context(), "/drover/v1/claim/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && claims.Count == int64(len(specs))
	})
	serve("other")
	return o
}

// ends does something to the first node, and says how long after it the last process was handed back, if any was, and when
// the last was claimed by the other node: as etcd tells, whatever the nodes say.
func (o *takeover) ends(what func()) (handedBack, claimed time.Duration) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), time.Minute)
	defer cancel()
	events := o.etcd.Watch(ctx, "/drover/v1/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-events
	began, left := time.Now(), o.count
	what()
	for response := range events {
		at := time.Since(began)
		for _, e := range response.Events {
			switch key := string(e.Kv.Key); {
			case e.Type != mvccpb.PUT:
			case strings.HasPrefix(key, "/drover/v1/pending/"):
				handedBack = at
			case strings.HasPrefix(key, "/drover/v1/claim/"):
				left--
				claimed = at
			}
		}
		if left == 0 {
			return handedBack, claimed
		}
	}
	o.t.Fatalf("after a minute, %d of %d are claimed again", o.count-left, o.count)
	return 0, 0
}

// goesOn checks that its first attempt is on record, once, and that the other node makes the next.
func (o *takeover) goesOn(adoptions int) {
	o.t.Helper()
	if p := o.process("p0"); p.Adoptions != adoptions || len(p.History) != 1 || p.History[0].Node != "first" || p.Claim == nil || p.Claim.Node != "other" {
		o.t.Errorf("one of them is %+v", p)
	}
}

// A node that is killed, with no witness, is taken over when its session has expired, and a second later at the most its
// last process runs.
func TestTakeoverOfAKilledNode(t *testing.T) {
	t.Parallel()
	o := newTakeover(t, "--witness=false", "--ttl", "1s")
	_, took := o.ends(o.first.kill)
	const ttl = 2 * time.Second // the least that etcd grants
	t.Logf("the last of %d is claimed %s after the kill, %s after the TTL", o.count, took.Round(time.Millisecond), (took - ttl).Round(time.Millisecond))
	if took > ttl+10*time.Second { // not one second: the machine may do other things
		t.Errorf("it took %s", took)
	}
	o.goesOn(1)
}

// A node that is killed beside its witness is taken over without waiting for the TTL, or until others look whether it lives:
// it is the witness that has said so.
func TestTakeoverOnProofOfDeath(t *testing.T) {
	t.Parallel()
	const ttl = 30 * time.Second
	o := newTakeover(t, "--ttl", ttl.String())
	_, took := o.ends(o.first.kill)
	t.Logf("the last of %d is claimed %s after the kill", o.count, took.Round(time.Millisecond))
	if took > ttl/2 { // far more, as the machine may do other things
		t.Errorf("it took %s", took)
	}
	o.goesOn(1)
	o.reaches("own", "abandoned")
	if p := o.process("own"); p.Evidence == nil || !strings.HasPrefix(p.Evidence.Proof, "its witness saw process ") {
		t.Errorf("the evidence is %+v", p.Evidence)
	}
}

// What a node hands back when it stops is no death, and is taken at once.
func TestTakeoverOfAStoppedNode(t *testing.T) {
	t.Parallel()
	o := newTakeover(t, "--shutdown-timeout", "1ms")
	handedBack, took := o.ends(func() { o.first.signal(syscall.SIGTERM) })
	t.Logf("the last of %d is claimed %s after the last was handed back, which took %s", o.count,
		(took - handedBack).Round(time.Millisecond), handedBack.Round(time.Millisecond))
	if handedBack == 0 || took > 30*time.Second {
		t.Errorf("the last was handed back after %s and claimed after %s", handedBack, took)
	}
	o.goesOn(0)
}
