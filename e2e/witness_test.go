package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
)

// witnessOf is the pid of a node's witness.
func witnessOf(t *testing.T, node int) int {
	t.Helper()
	pid := 0
	eventually(t, "the witness", func() bool {
		pid = childOf(node, "drover-witness")
		return pid != 0
	})
	return pid
}

// childOf is the pid of a child with that argument zero, 0 if there is none.
func childOf(parent int, name string) int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if string(fields[0]) == "Z" || string(fields[1]) != strconv.Itoa(parent) {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if argument, _, _ := strings.Cut(string(cmdline), "\x00"); argument == name {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	return 0
}

// longTTL is far more than anything here waits for: what happens before is not because it is over.
const longTTL = "600s"

// herdOfTwo is an etcd, a node that runs ten sleeping processes and one owner-bound, and another node that is idle.
func herdOfTwo(t *testing.T, flags ...string) (c client, first, second *program) {
	t.Helper()
	c = client{t, etcdtest.New(t).Endpoint()}
	node := func(name string) *program {
		p := launch(t, append([]string{"serve", "--endpoints", c.endpoint, "--node", name, "--ttl", longTTL}, flags...)...)
		p.says("ready node=" + name + " ")
		return p
	}
	first = node("n1")
	for i := range 10 {
		c.must("start", "sleep", "--id", fmt.Sprint("s", i), "--input", `{"duration":"1h"}`)
	}
	c.must("start", "sleep", "--id", "own", "--disposition", "owner-bound", "--input", `{"duration":"1h"}`)
	eventually(t, "n1 to run all", func() bool { return len(c.holders("n1")) == 11 })
	return c, first, node("n2")
}

// holders are the ids of what a node runs.
func (c client) holders(node string) (ids []string) {
	c.t.Helper()
	for _, p := range processes(c.t, "list", "--full", "--endpoints", c.endpoint) {
		if p.Claim != nil && p.Claim.Node == node {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

func (c client) takenOver(id string) {
	c.t.Helper()
	eventually(c.t, "n2 to run what n1 ran", func() bool { return len(c.holders("n2")) == 10 })
	c.reaches(id, "abandoned")
	p := c.process(id)
	if p.Evidence == nil || p.Evidence.What != registry.EvidenceDeath || p.Evidence.Node != "n1" ||
		!strings.HasPrefix(p.Evidence.Proof, "its witness saw process ") {
		c.t.Errorf("its evidence is %+v", p.Evidence)
	}
}

// However the node dies: killed, or by a crash of its own, which the runtime makes of the other two signals.
func TestWitnessEndsTheSessionOfANodeThatDies(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGABRT} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			c, first, _ := herdOfTwo(t)
			witness := witnessOf(t, first.cmd.Process.Pid)
			first.signal(s)
			c.takenOver("own")
			eventually(t, "the witness to end", func() bool { return syscall.Kill(witness, 0) != nil })
		})
	}
}

func TestWithoutAWitnessNobodyEndsTheSession(t *testing.T) {
	t.Parallel()
	_, first, _ := herdOfTwo(t, "--witness=false")
	if pid := childOf(first.cmd.Process.Pid, "drover-witness"); pid != 0 {
		t.Errorf("there is a witness, %d", pid)
	}
}

func TestADeadWitnessIsReplaced(t *testing.T) {
	t.Parallel()
	c, first, _ := herdOfTwo(t)
	before := witnessOf(t, first.cmd.Process.Pid)
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	first.says("there is a witness again")
	after := witnessOf(t, first.cmd.Process.Pid)
	if after == before {
		t.Fatalf("the witness is still %d", before)
	}
	if n := len(c.holders("n1")); n != 11 {
		t.Errorf("n1 holds %d processes after the death of its witness, want 11", n)
	}
	first.kill()
	c.takenOver("own")
}

// The TTL is what remains.
func TestADeadWitnessChangesNothingButTheSpeedOfTakeover(t *testing.T) {
	t.Parallel()
	c := client{t, etcdtest.New(t).Endpoint()}
	p := launch(t, "serve", "--endpoints", c.endpoint, "--node", "n1", "--ttl", "2s")
	p.says("ready node=n1 ")
	c.must("start", "sleep", "--id", "x", "--input", `{"duration":"1h"}`)
	c.reaches("x", "running")
	witness := witnessOf(t, p.cmd.Process.Pid)
	p.signal(syscall.SIGSTOP) // so that it can't start another
	if err := syscall.Kill(witness, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.kill()
	other := launch(t, "serve", "--endpoints", c.endpoint, "--node", "n2", "--ttl", "2s")
	other.says("ready node=n2 ")
	eventually(t, "n2 to take over", func() bool { return len(c.holders("n2")) == 1 })
}

func TestWitnessIsSmall(t *testing.T) {
	t.Parallel()
	_, first, _ := herdOfTwo(t)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", witnessOf(t, first.cmd.Process.Pid)))
	if err != nil {
		t.Skipf("its size is looked up in /proc: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		if kib, found := strings.CutPrefix(line, "VmRSS:"); found {
			n, err := strconv.Atoi(strings.Fields(kib)[0])
			if err != nil || n > 15<<10 {
				t.Errorf("it has %s resident, want less than 15 MiB", strings.TrimSpace(kib))
			}
			return
		}
	}
	t.Error("it has no size")
}

// A node that stops as it should leaves nothing to be said.
func TestWitnessHasNothingToSayOfANodeThatLeaves(t *testing.T) {
	t.Parallel()
	c, first, _ := herdOfTwo(t)
	witness := witnessOf(t, first.cmd.Process.Pid)
	first.signal(syscall.SIGTERM)
	first.signal(syscall.SIGTERM)
	if code := first.exitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if err := syscall.Kill(witness, 0); err == nil {
		t.Error("the witness outlived a node that left")
	}
	eventually(t, "n2 to run what was handed back", func() bool { return len(c.holders("n2")) == 10 })
	if p := c.process("own"); p.Evidence == nil || strings.Contains(p.Evidence.Proof, "witness") {
		t.Errorf("own is %s with evidence %+v, want the node's own word", p.Status, p.Evidence)
	}
}

// container makes the program process 1 of a PID namespace.
func container(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	probe := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "true")
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("no PID namespace can be made here: %v: %s", err, out)
	}
	return exec.Command("unshare", append([]string{"--pid", "--fork", "--mount-proc", "--kill-child", binary}, args...)...)
}

// first is the pid, as this process sees it, of process 1 of what container made.
func firstIn(t *testing.T, p *program) int {
	t.Helper()
	return witnessOf(t, p.cmd.Process.Pid)
}

func TestProcessOneIsTheWitness(t *testing.T) {
	t.Parallel()
	c := client{t, etcdtest.New(t).Endpoint()}
	p := launchCommand(t, container(t, "serve", "--endpoints", c.endpoint, "--node", "n1", "--ttl", longTTL))
	p.says("ready node=n1 ")
	c.must("start", "sleep", "--id", "own", "--disposition", "owner-bound", "--input", `{"duration":"1h"}`)
	for i := range 10 {
		c.must("start", "sleep", "--id", fmt.Sprint("s", i), "--input", `{"duration":"1h"}`)
	}
	eventually(t, "n1 to run all", func() bool { return len(c.holders("n1")) == 11 })
	launch(t, "serve", "--endpoints", c.endpoint, "--node", "n2", "--ttl", longTTL).says("ready node=n2 ")

	node := childOf(firstIn(t, p), binary)
	if err := syscall.Kill(node, syscall.SIGKILL); err != nil {
		t.Fatalf("kill the node %d: %v", node, err)
	}
	c.takenOver("own")
	if code := p.exitCode(); code != 128+int(syscall.SIGKILL) {
		t.Errorf("exit code %d, want %d", code, 128+int(syscall.SIGKILL))
	}
}

func TestProcessOneForwardsSignalsAndReaps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// An orphan that ends is a zombie until process 1 has reaped it.
	script := `(sleep 0.01 & echo $! >"$DIR/orphan") & wait; sleep 0.2
		while [ -e /proc/"$(cat "$DIR/orphan")" ]; do sleep 0.01; done
		echo reaped; sleep 1000`
	p := launchCommand(t, container(t, "run", "--data-dir", dir, "--id", "x", "--env", "DIR="+dir, "--", "sh", "-c", script))
	p.says("reaped\n")
	if err := syscall.Kill(firstIn(t, p), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := p.exitCode(); code != 128+int(syscall.SIGINT) {
		t.Errorf("exit code %d, want %d:\n%s", code, 128+int(syscall.SIGINT), p.output.String())
	}
}

// openFiles sets how many files a process may open from now on, and returns what it was.
func openFiles(t *testing.T, pid int, most string) (before string) {
	t.Helper()
	of := []string{"--pid", strconv.Itoa(pid)}
	out, err := exec.Command("prlimit", append(of, "--nofile", "--output", "SOFT", "--noheadings")...).Output()
	if err != nil {
		t.Skipf("prlimit: %v", err)
	}
	if out, err := exec.Command("prlimit", append(of, "--nofile="+most+":")...).CombinedOutput(); err != nil {
		t.Fatalf("prlimit: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// Others can run it, and an attempt that is only put off would be none.
func TestANodeWithoutAWitnessClaimsNoCommands(t *testing.T) {
	t.Parallel()
	c := client{t, etcdtest.New(t).Endpoint()}
	node := func(name string) *program {
		p := launch(t, "serve", "--endpoints", c.endpoint, "--node", name, "--ttl", longTTL, "--allow", "exec")
		p.says("ready node=" + name + " ")
		return p
	}
	first := node("n1")
	pid := first.cmd.Process.Pid
	witness := witnessOf(t, pid)
	before := openFiles(t, pid, "3") // no other one can be started
	if err := syscall.Kill(witness, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	first.says("no witness can be started")
	c.must("start", "exec", "--id", "command", "--", "true")
	c.must("start", "noop", "--id", "other", "--wait") // it looked at the queue
	if p := c.process("command"); p.Status != registry.StatusPending || p.Attempt != 0 {
		t.Errorf("without a witness the command is %s after %d attempts, want it left alone", p.Status, p.Attempt)
	}
	second := node("n2")
	c.reaches("command", "completed")
	if p := c.process("command"); len(p.History) != 1 || p.History[0].Node != "n2" {
		t.Errorf("it was run as %+v, want once, by n2", p.History)
	}
	second.signal(syscall.SIGTERM)
	second.exitCode()
	openFiles(t, pid, before)
	first.says("there is a witness again")
	c.must("start", "exec", "--id", "next", "--wait", "--", "true")
	if p := c.process("next"); len(p.History) != 1 || p.History[0].Node != "n1" {
		t.Errorf("with a witness again it was run as %+v, want once, by n1", p.History)
	}
}
