//go:build linux || darwin

package supervisor_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/drover-run/drover/runner"
	"github.com/drover-run/drover/supervisor"
)

func TestNodeTellsItsWitnessAndReplacesIt(t *testing.T) {
	r := newRanch(t)
	w, err := supervisor.Witness(supervisor.WitnessOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close(context.Background()) })
	r.handle("command", func(ctx context.Context, a *runner.Attempt) (any, error) {
		// It is refused unless the session's deadline was told before.
		g, err := w.Start(ctx, supervisor.GroupCommand{Session: a.Session(), Path: "/bin/sh", Args: []string{"sh", "-c", "exit 0"}})
		if err != nil {
			return nil, runner.Fail(err)
		}
		return nil, waitFor(ctx, g.Done())
	})
	c := r.config()
	c.Witness = w
	n := r.start(c)
	r.process("p", "command")
	r.completed("p")
	if nodes := r.nodes(); len(nodes) != 1 || nodes[0].Witness != w.Identity() {
		t.Errorf("roster %+v, want the witness in it", nodes)
	}
	// The deadline moves with each renewal: this is past the first one.
	select {
	case <-time.After(2500 * time.Millisecond):
	case <-n.Done():
		t.Fatalf("the node ended: %v", n.Err())
	}
	r.process("q", "command")
	r.completed("q")

	first, session := w.Identity(), r.nodes()[0].Session
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.eventually("another witness is on the record", func() bool {
		nodes := r.nodes()
		return len(nodes) == 1 && nodes[0].Witness == w.Identity() && nodes[0].Witness != first
	})
	r.process("r", "command")
	r.completed("r")
	if nodes := r.nodes(); nodes[0].Session != session {
		t.Error("the node lost its session with its witness")
	}
}

func waitFor(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// eventually asks until the answer is yes.
func (r *ranch) eventually(what string, holds func() bool) {
	r.t.Helper()
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	for deadline := time.After(patience); !holds(); {
		select {
		case <-ticks.C:
		case <-deadline:
			r.t.Fatalf("%s: not within %s", what, patience)
		}
	}
}
