package runner_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// ender is slots that end the drive which hands them their first claim.
type ender struct {
	*bench
	end context.CancelFunc
}

func (e ender) Hand(c *registry.Claim) {
	e.end()
	e.bench.Hand(c)
}

// Claims that are on their way when a drive ends are waited for: given up,
// those of a node that stops would become orphans, and lost attempts.
func TestDriveThatEndsKeepsTrackOfItsClaims(t *testing.T) {
	b := newBench(t, 64, "k")
	for i := range 64 {
		b.start(fmt.Sprint("p", i), "k")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := runner.New(runner.Options{
		Registry: b.registry, Mux: b.mux, Slots: ender{b, cancel}, Queues: []string{"default"},
		Session: func() *registry.Session { return b.session },
	})
	if err != nil {
		t.Fatal(err)
	}
	drove, err := r.Drive(ctx, runner.Startup)
	if err == nil {
		t.Error("a drive whose context has ended succeeded")
	}
	page, err := b.registry.List(t.Context(), registry.Filter{Statuses: []registry.Status{registry.StatusRunning}})
	if err != nil {
		t.Fatal(err)
	}
	handed := len(b.empty())
	if len(page.Processes) != handed || drove.Claimed != handed || handed == 0 || handed == 64 {
		t.Errorf("handed over %d, counted %d, claimed %d", handed, drove.Claimed, len(page.Processes))
	}
}
