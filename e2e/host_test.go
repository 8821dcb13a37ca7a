package e2e

import (
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
)

// hosted is a running e2e/host: a program with actors of its own, and a node among them.
type hosted struct {
	*program
	stdin io.Writer
}

// hosts builds e2e/host and returns what starts one by its name.
func hosts(t *testing.T, endpoint string) func(name string) *hosted {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "host")
	if out, err := exec.Command("go", "build", "-o", bin, "./host").CombinedOutput(); err != nil {
		t.Fatalf("build e2e/host: %v\n%s", err, out)
	}
	return func(name string) *hosted {
		// It looks at the queue so seldom that what is found in between was not found by that.
		cmd := exec.Command(bin, "-endpoints", endpoint, "-namespace", "drover", "-name", name, "-ttl", "10s", "-poll", "10s",
			"-slots", "4", "-debug")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		h := &hosted{launchCommand(t, cmd), stdin}
		h.says("ready at 127.0.0.1:")
		return h
	}
}

// types is a line at its terminal.
func (h *hosted) types(line string) {
	h.t.Helper()
	if _, err := io.WriteString(h.stdin, line+"\n"); err != nil {
		h.t.Fatal(err)
	}
}

// drives counts those that were made because of a poke.
func (h *hosted) drives() int {
	return strings.Count(h.output.String(), "drove\t{\"node\": \""+h.node()+"\", \"reason\": \"poke\"")
}

func (h *hosted) node() string {
	for i, arg := range h.cmd.Args {
		if arg == "-name" {
			return h.cmd.Args[i+1]
		}
	}
	return ""
}

func TestTwoActorSystemsShareTheWork(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.New(t)
	host := hosts(t, etcd.Endpoint())
	n1, n2 := host("n1"), host("n2")

	t.Log("a node is poked by the program that it is a part of")
	for _, h := range []*hosted{n1, n2} {
		h.types("poke")
		h.says("drove for a poke, claimed 0, error <nil>\n")
	}
	t.Log("and by the other one")
	for _, way := range []struct{ from, to *hosted }{{n1, n2}, {n2, n1}} {
		for range 5 {
			before := way.to.drives()
			way.from.types("poke " + way.to.node())
			eventually(t, "a drive because of the poke", func() bool { return way.to.drives() > before })
		}
	}
	n1.types("poke n3")
	n1.says("error: no other process has a node n3 that can be reached\n")

	t.Log("both run handlers that are actors")
	const together = 8 // twice as many as one of them may run
	for i := range together {
		n1.types(fmt.Sprintf("count c%d 3s", i))
	}
	for i := range together {
		n1.says(fmt.Sprintf("ended c%d completed\n", i))
	}
	c := client{t, etcd.Endpoint()}
	ran := map[string]int{}
	for i := range together {
		p := processes(t, "get", fmt.Sprintf("c%d", i), "--endpoints", c.endpoint)[0]
		if p.Status != registry.StatusCompleted || string(p.Output) != "30" || len(p.History) != 1 {
			t.Errorf("%s is %s with output %s and history %+v", p.ID, p.Status, p.Output, p.History)
			continue
		}
		ran[p.History[0].Node]++
	}
	if ran["n1"] == 0 || ran["n2"] == 0 || ran["n1"]+ran["n2"] != together {
		t.Errorf("they ran at %v, want both, and %d in all", ran, together)
	}
}

func TestAnotherActorSystemFinishesWhatTheLostOneRan(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.New(t)
	host := hosts(t, etcd.Endpoint())
	n1 := host("n1") // alone at first, so it has all of it
	const together = 4
	for i := range together {
		n1.types(fmt.Sprintf("count c%d 2s", i))
	}
	for i := range together {
		n1.says(fmt.Sprintf("attempt 1 of c%d counts from 0 to 20\n", i))
	}
	n2 := host("n2")
	n1.kill()
	begun := time.Now()
	for i := range together {
		n2.says(fmt.Sprintf("attempt 2 of c%d counts from ", i))
	}
	// Its last renewal is at most a third of the TTL ago: the TTL alone would take longer.
	if took := time.Since(begun); took > 6*time.Second {
		t.Errorf("it took %s to take over with a TTL of 10 s and a witness", took)
	}
	c := client{t, etcd.Endpoint()}
	for i := range together {
		p := processes(t, "wait", fmt.Sprintf("c%d", i), "--endpoints", c.endpoint)[0]
		if p.Status != registry.StatusCompleted || string(p.Output) != "20" || p.Adoptions != 1 || len(p.History) != 2 ||
			p.History[0].Node != "n1" || p.History[0].Error != "session lost" || p.History[1].Node != "n2" {
			t.Errorf("%s is %s with output %s after %d adoptions, history %+v", p.ID, p.Status, p.Output, p.Adoptions, p.History)
		}
	}
	n2.types("poke")
	n2.says("drove for a poke, ")
	n2.signal(syscall.SIGTERM)
	if code := n2.exitCode(); code != 0 {
		t.Errorf("n2 ended with %d, want 0", code)
	}
}
