package e2e

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// kindCrash panics in a goroutine of its own in its first attempt.
const kindCrash = "crash"

func crash(ctx context.Context, a *runner.Attempt) (any, error) {
	if a.Number() > 1 {
		return a.Node(), nil
	}
	go panic("in a goroutine of its own")
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func TestPanicInAGoroutineOfAHandlerIsTakenOver(t *testing.T) {
	t.Parallel()
	c := newCluster(t, clusterOptions{Size: 1})
	j := &journal{t.TempDir()}
	nodes := []*node{c.embed("n1", j, "drover", 2*time.Second), c.embed("n2", j, "drover", 2*time.Second)}
	cl := c.commands()
	cl.must("start", kindCrash, "--id", "p", "--disposition", "rerunnable")
	p := processes(t, "wait", "p", "--timeout", "50s", "--endpoints", cl.endpoint)[0]
	if p.Status != registry.StatusCompleted || p.Attempt != 2 || p.Adoptions != 1 || len(p.History) != 2 ||
		string(p.Output) != strconv.Quote(p.History[1].Node) || p.History[0].Node == p.History[1].Node {
		t.Errorf("%+v, want the second attempt on the other node to complete", p)
	}
	for _, n := range nodes {
		if died := n.name == p.History[0].Node; died == n.alive() {
			t.Errorf("%s lives: %v", n.name, n.alive())
		} else if died && !strings.Contains(n.output.String(), "panic: in a goroutine of its own") {
			t.Errorf("%s said %s", n.name, n.output.String())
		}
	}
}

func TestNodeIsHealthyWhileTheLeaderMoves(t *testing.T) {
	t.Parallel()
	c := newCluster(t, clusterOptions{})
	n := c.serve("n1", "--ttl", "10s", "--http", "127.0.0.1:0")
	node := asks(t, n.program)
	node.well()
	_, before := node.get("/healthz")
	var specs strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&specs, `{"kind":"sleep","id":"p%d","input":{"duration":"200ms"}}`+"\n", i)
	}
	if r := c.commands().feed(specs.String(), "start", "--batch", "-"); r.code != 0 {
		t.Fatal(r.errs)
	}
	moves := 5
	if *long {
		moves = 30
	}
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for range moves {
		<-tick.C
		c.moveLeader()
	}
	eventually(t, "all to complete", func() bool { return c.commands().must("list", "--status", "pending,running", "-q") == "" })
	node.well()
	if _, after := node.get("/healthz"); after.Session.ID != before.Session.ID {
		t.Errorf("the session is %s, it was %s: a move of the leader costs nothing", after.Session.ID, before.Session.ID)
	}
}

func TestNodeGoesOnWhenTheMajorityComesBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, clusterOptions{})
	n := c.serve("n1", "--ttl", "2s", "--http", "127.0.0.1:0")
	node := asks(t, n.program)
	node.well()
	c.members[0].kill()
	c.members[1].freeze()
	h := node.ill("there is no session since ")
	if !strings.Contains(h.Session.Why, "etcd ") || h.Ready {
		t.Errorf("without a majority: %+v", h)
	}
	eventually(t, "longer than the TTL", func() bool {
		_, h := node.get("/healthz")
		return time.Since(h.Session.Since) > 4*time.Second
	})
	n.says("no session could be opened, it is tried until one can be") // not before its first request is given up
	c.heal()
	node.well()
	c.commands().must("start", "noop", "--id", "x", "--wait")
	said := n.output.String()
	for _, once := range []string{"session lost, another one is opened", "no session could be opened, it is tried until one can be", "a session could be opened"} {
		if n := strings.Count(said, once); n != 1 {
			t.Errorf("it said %q %d times, want once", once, n)
		}
	}
}

func TestNodeThatIsStartedAgainBeforeItsTTLIsOver(t *testing.T) {
	t.Parallel()
	c := newCluster(t, clusterOptions{Size: 1})
	n := c.serve("n1", "--ttl", "60s", "--witness=false")
	cl := c.commands()
	cl.must("start", "sleep", "--id", "p", "--input", `{"duration":"1h"}`)
	cl.reaches("p", "running")
	begun := time.Now()
	n.restart()
	n.ready()
	// The kernel says that its predecessor is dead: nobody waits for a TTL.
	eventually(t, "the next attempt", func() bool {
		p := processes(t, "get", "p", "--endpoints", cl.endpoint)[0]
		return p.Status == "running" && p.Attempt == 2 && p.Adoptions == 1
	})
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
	eventually(t, "one node in the roster", func() bool { return strings.Count(cl.must("nodes", "-o", "json"), "\n") == 1 })
}

func TestNodeRestsWhileEtcdIsAway(t *testing.T) {
	if !*long {
		t.Skip("it measures for 20 s: -long")
	}
	c := newCluster(t, clusterOptions{Size: 1})
	n := c.serve("n1", "--ttl", "60s", "--max-running", "128", "--http", "127.0.0.1:0")
	node := asks(t, n.program)
	var specs strings.Builder
	for i := range 128 {
		lasts := "1h"
		if i%2 == 0 {
			lasts = "10s" // they end while etcd is away
		}
		fmt.Fprintf(&specs, `{"kind":"sleep","id":"p%d","input":{"duration":%q}}`+"\n", i, lasts)
	}
	if r := c.commands().feed(specs.String(), "start", "--batch", "-"); r.code != 0 {
		t.Fatal(r.errs)
	}
	eventually(t, "all to run", func() bool { _, h := node.get("/healthz"); return h.Running == 128 })
	c.members[0].kill()
	node.ill("the ends of 64 attempts are held back in memory since ")
	before, begun := used(t, n.cmd.Process.Pid), time.Now()
	<-time.After(20 * time.Second)
	part := float64(used(t, n.cmd.Process.Pid)-before) / float64(time.Since(begun))
	t.Logf("with 64 that run and 64 held back: %.2f %% of a core", part*100)
	if part > 0.05 {
		t.Errorf("it takes %.1f %% of a core while etcd is away, want 5 %% at the most", part*100)
	}
	node.ill("there is no session since ")
	before, begun = used(t, n.cmd.Process.Pid), time.Now()
	<-time.After(20 * time.Second)
	part = float64(used(t, n.cmd.Process.Pid)-before) / float64(time.Since(begun))
	t.Logf("without a session: %.2f %% of a core", part*100)
	if part > 0.05 {
		t.Errorf("it takes %.1f %% of a core without a session, want 5 %% at the most", part*100)
	}
	c.heal()
	node.well()
	n.signal(syscall.SIGKILL)
}

// used is the time of processors that a process has taken.
func used(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		t.Skipf("the time of a process is looked up in /proc: %v", err)
	}
	// After the name, which may hold anything; utime and stime are the 14th and
	// the 15th, in hundredths of a second.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var sum time.Duration
	for _, field := range fields[11:13] {
		ticks, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(ticks) * 10 * time.Millisecond
	}
	return sum
}
