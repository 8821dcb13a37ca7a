package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
)

// held runs until it is on n2, in a group of three processes. There it fails if any of those of n1 is alive: they have
// to be gone before another node starts the command.
const held = `if [ "$DROVER_NODE" = n2 ]; then
	if kill -0 -- "-$(cat "$DIR/pid")" 2>/dev/null; then echo "the old one lives"; exit 99; fi
	exit 0
fi
trap "" TERM
(sleep 1000 & wait) &
echo $$ >"$DIR/pid"
wait`

func TestAnotherNodeTakesOverWhenTheFirstIsGone(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "frozen": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			c := client{t, etcdtest.New(t).Endpoint()}
			node := func(name string) *program {
				p := launch(t, "serve", "--endpoints", c.endpoint, "--node", name, "--allow", "exec", "--ttl", "2s")
				p.says("ready node=" + name + " ")
				return p
			}
			first := node("n1") // alone at first, so it is who gets it
			c.must("start", "exec", "--id", "it", "--max-attempts", "1", "--env", "DIR="+dir, "--", "sh", "-c", held)
			eventually(t, "the whole group", func() bool {
				_, err := os.Stat(filepath.Join(dir, "pid"))
				return err == nil && len(survivors(t, "DIR="+dir)) == 3
			})
			node("n2")
			first.signal(s)
			p := processes(t, "wait", "it", "--timeout", "50s", "--endpoints", c.endpoint)[0]
			if p.Status != registry.StatusCompleted || p.Attempt != 2 || p.Errors != 0 || p.Adoptions != 1 {
				t.Errorf("%s in attempt %d after %d errors and %d adoptions: %s", p.Status, p.Attempt, p.Errors, p.Adoptions, p.Output)
			}
			if len(p.History) != 2 || p.History[0].Node != "n1" || p.History[0].Error != "session lost" || p.History[1].Node != "n2" {
				t.Errorf("history %+v", p.History)
			}
			if left := survivors(t, "DIR="+dir); len(left) != 0 {
				t.Errorf("left running: %q", left)
			}
			if s == syscall.SIGSTOP {
				thawed(t, c, first)
			}
		})
	}
}

// thawed is about a node that wakes up after its time: what it has to say about the process counts no more, and it
// goes on with a new session.
func thawed(t *testing.T, c client, p *program) {
	t.Helper()
	before := c.must("get", "it", "-o", "json")
	p.signal(syscall.SIGCONT)
	eventually(t, "n1 to be a node again", func() bool { return strings.Count(c.must("nodes", "-o", "json"), "\n") == 2 })
	if after := c.must("get", "it", "-o", "json"); after != before {
		t.Errorf("it changed from\n%sto\n%s", before, after)
	}
	p.signal(syscall.SIGTERM)
	if code := p.exitCode(); code != 0 {
		t.Errorf("n1 ended with %d, want 0", code)
	}
}

func TestNodeOutlivesItsEtcd(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.New(t)
	c := client{t, etcd.Endpoint()}
	p := launch(t, "serve", "--endpoints", c.endpoint, "--node", "n1", "--ttl", "2s")
	p.says("ready node=n1 ")
	etcd.Stop()
	if r := c.do("list", "--request-timeout", "100ms"); r.code != 5 {
		t.Errorf("exit code %d without etcd, want 5: %s", r.code, r.errs)
	}
	etcd.Restart()
	c.must("start", "noop", "--id", "x", "--wait")
	p.signal(syscall.SIGTERM)
	if code := p.exitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
