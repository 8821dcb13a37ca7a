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
	const many = 300 // more than are on their way at a time
	b := newBench(t, many, "k")
	specs := make([]registry.Spec, many)
	for i := range specs {
		specs[i] = registry.Spec{ID: fmt.Sprint("p", i), Kind: "k", Disposition: registry.Rerunnable}
	}
	for _, started := range b.registry.StartMany(t.Context(), specs, registry.StartManyOptions{}) {
		if started.Err != nil {
			t.Fatal(started.Err)
		}
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
	running := registry.Filter{Statuses: []registry.Status{registry.StatusRunning}, Limit: many}
	page, err := b.registry.List(t.Context(), running)
	if err != nil {
		t.Fatal(err)
	}
	handed := len(b.empty())
	if len(page.Processes) != handed || drove.Claimed != handed || handed == 0 || handed == many {
		t.Errorf("handed over %d, counted %d, claimed %d", handed, drove.Claimed, len(page.Processes))
	}
}
