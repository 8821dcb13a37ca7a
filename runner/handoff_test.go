package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

func TestWhatIsHandedOffIsEndedByItsAuthority(t *testing.T) {
	b := newBenchOf(t, registry.Rerunnable, func(context.Context, *runner.Attempt) (any, error) {
		return nil, runner.HandOff(map[string]int{"batch": 7}, "cluster-a")
	})
	b.start("x", "k")
	if report := b.runNext(t.Context()); report.Outcome != "" || report.Err != nil {
		t.Fatalf("reported %+v", report)
	}
	p := b.get("x")
	if p.Status != registry.StatusParked || string(p.Reference) != `{"batch":7}` || p.Authority != "cluster-a" || p.Errors != 0 {
		t.Fatalf("handed off: %+v", p)
	}
	if len(p.History) != 1 || p.History[0].Error != "handed off" || p.Disposition != registry.Rerunnable {
		t.Errorf("it is %s with the history %+v", p.Disposition, p.History)
	}
	if d := b.look(); d.Claimed != 0 {
		t.Errorf("drove %+v, want nobody to claim it any more", d)
	}
	end := registry.ExternalEnd{Outcome: registry.Completed, Output: json.RawMessage(`{"rows": 12}`)}
	if err := b.registry.EndExternal(t.Context(), "x", "cluster-b", end); !errors.Is(err, registry.ErrAuthority) {
		t.Errorf("ended by somebody else: %v, want ErrAuthority", err)
	}
	if err := b.registry.EndExternal(t.Context(), "x", "cluster-a", end); err != nil {
		t.Fatal(err)
	}
	p = b.get("x")
	if p.Status != registry.StatusCompleted || string(p.Output) != `{"rows":12}` || string(p.Reference) != `{"batch":7}` {
		t.Errorf("ended: %+v", p)
	}
	if e := p.Evidence; e == nil || e.What != "authority" || e.By != "cluster-a" {
		t.Errorf("evidence %+v", e)
	}
	if err := b.registry.EndExternal(t.Context(), "x", "cluster-a", end); !errors.Is(err, registry.ErrEnded) {
		t.Errorf("ended again: %v, want ErrEnded", err)
	}
}

func TestOwnerBoundWorkCanBeHandedOff(t *testing.T) {
	b := newBenchOf(t, registry.OwnerBound, func(context.Context, *runner.Attempt) (any, error) { return nil, runner.HandOff("there", "") })
	b.start("x", "k", ownerBound)
	b.runNext(t.Context())
	if err := b.registry.EndExternal(t.Context(), "x", "anybody", registry.ExternalEnd{Outcome: registry.Failed, Error: "no room"}); err != nil {
		t.Fatal(err)
	}
	if p := b.get("x"); p.Status != registry.StatusFailed || p.Error != "no room" || p.Errors != 1 {
		t.Errorf("%s after %d errors: %s", p.Status, p.Errors, p.Error)
	}
}

func TestAHandOffThatCantBeStoredFails(t *testing.T) {
	for name, test := range map[string]struct {
		reference any
		authority string
		why       string
	}{
		"too large":    {strings.Repeat("x", 4095), "", "reference of 4097 bytes is over the limit of 4096"},
		"not JSON":     {make(chan int), "", "unsupported type: chan int"},
		"not a name":   {"there", "cluster/a", `"cluster/a"`},
		"just too big": {strings.Repeat("<", 4095), "", "reference of 4097 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBenchOf(t, registry.Rerunnable, func(context.Context, *runner.Attempt) (any, error) {
				return nil, runner.HandOff(test.reference, test.authority)
			})
			b.start("x", "k")
			report := b.runNext(t.Context())
			p := b.get("x")
			if report.Outcome != registry.Failed || p.OutcomeReason != "its reference can't be stored" || !strings.Contains(p.Error, test.why) {
				t.Errorf("%+v: %s (%s), want %q in it", report, p.Error, p.OutcomeReason, test.why)
			}
		})
	}
	b := newBenchOf(t, registry.Rerunnable, func(context.Context, *runner.Attempt) (any, error) {
		return nil, runner.HandOff(strings.Repeat("<", 4094), "")
	})
	b.start("x", "k")
	b.runNext(t.Context())
	if p := b.get("x"); p.Status != registry.StatusParked || len(p.Reference) != 4096 {
		t.Errorf("%s with a reference of %d bytes, want it parked with 4096", p.Status, len(p.Reference))
	}
}
