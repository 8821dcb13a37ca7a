package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/drover-run/drover/registry"
)

// netns is a network namespace with one wire to this one. What is on the wire when it is cut is lost, and sent again
// by the kernel, or not: a partition as it is, with nobody in between who knows of it.
type netns struct {
	t          testing.TB
	name, wire string
	host       string // address of our end
}

var namespaces atomic.Int64

// newNetns skips the test where there are no rights for it.
func newNetns(t testing.TB) *netns {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("network namespaces need Linux and root")
	}
	n := namespaces.Add(1)
	ns := &netns{t: t, name: fmt.Sprintf("drover-%d-%d", os.Getpid(), n), wire: fmt.Sprintf("dr%d.%d", os.Getpid()%1e6, n)}
	subnet := fmt.Sprintf("10.%d.%d.", 64+os.Getpid()%64, n%256)
	ns.host = subnet + "1"
	if out, err := ip("netns", "add", ns.name); err != nil {
		t.Skipf("network namespaces: %v: %s", err, out)
	}
	t.Cleanup(func() {
		_, _ = ip("link", "del", ns.wire) // with it goes the other end
		if out, err := ip("netns", "del", ns.name); err != nil {
			t.Errorf("delete the namespace %s: %v: %s", ns.name, err, out)
		}
	})
	for _, args := range [][]string{
		{"link", "add", ns.wire, "type", "veth", "peer", "name", "wire", "netns", ns.name},
		{"addr", "add", ns.host + "/30", "dev", ns.wire},
		{"link", "set", ns.wire, "up"},
		{"-n", ns.name, "addr", "add", subnet + "2/30", "dev", "wire"},
		{"-n", ns.name, "link", "set", "wire", "up"},
		{"-n", ns.name, "link", "set", "lo", "up"},
	} {
		if out, err := ip(args...); err != nil {
			t.Skipf("network namespaces: ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	return ns
}

func ip(args ...string) (string, error) {
	out, err := exec.Command("ip", args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (ns *netns) cut()  { ns.set("down") }
func (ns *netns) heal() { ns.set("up") }

func (ns *netns) set(state string) {
	ns.t.Helper()
	if out, err := ip("link", "set", ns.wire, state); err != nil {
		ns.t.Fatalf("%v: %s", err, out)
	}
}

// serveIn starts a node in a namespace of its own.
func (c *cluster) serveIn(ns *netns, name string, args ...string) *node {
	c.t.Helper()
	n := &node{c: c, name: name}
	for _, m := range c.members {
		n.proxies = append(n.proxies, newProxy(c.t, "tcp", ns.host+":0", m.config.Client))
	}
	n.launch = func() *program {
		serve := append([]string{"netns", "exec", ns.name, binary, "serve", "--endpoints", n.endpoints(), "--node", n.name}, args...)
		return launchCommand(c.t, exec.Command("ip", serve...)) // which becomes drover
	}
	n.start()
	n.ready()
	return n
}

func TestAPartitionedNodeStopsBeforeAnotherOneGoesOn(t *testing.T) {
	t.Parallel()
	needsShell(t)
	ns := newNetns(t)
	c := newCluster(t, clusterOptions{})
	j, tr := newJournal(t), follow(t, c.client(), "drover")
	away := c.serveIn(ns, "away", "--ttl", "2s", "--allow", "exec")
	cl := c.commands()
	const many = 20
	var ids []string
	var batch strings.Builder
	for i := range many {
		ids = append(ids, fmt.Sprint("p", i))
		fmt.Fprintf(&batch, `{"kind":"exec","id":"p%d","disposition":"rerunnable","input":{"argv":[%q,%q,"4","0"]}}`+"\n", i, j.script(), j.dir)
	}
	if r := cl.feed(batch.String(), "start", "--batch", "-"); r.code != 0 {
		t.Fatal(r.errs)
	}
	eventually(t, "all to run", func() bool { return len(j.read(t)) >= many })
	c.serve("here", "--ttl", "2s", "--allow", "exec")
	ns.cut()
	for _, p := range processes(t, append([]string{"wait", "--timeout", "50s", "--endpoints", c.endpoints()}, ids...)...) {
		if p.Status != registry.StatusCompleted || p.Attempt != 2 || p.History[1].Node != "here" {
			t.Errorf("%s is %s, history %+v", p.ID, p.Status, p.History)
		}
	}
	ns.heal()
	eventually(t, "the node to be back", func() bool { return strings.Count(cl.must("nodes", "-o", "json"), "\n") == 2 })
	if !away.alive() {
		t.Error("the node has ended")
	}
	tr.upToDate(t)
	tr.with(func(v *verifier) {
		v.explain(j.read(t), nil)
		for _, problem := range append(v.problems, v.settled()...) {
			t.Error(problem)
		}
	})
}
