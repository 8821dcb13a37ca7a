package runner_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// A program that is wrong finds out when it starts.
func TestAMuxPanicsForWhatCantBe(t *testing.T) {
	h := runner.HandlerFunc(noop)
	for want, handle := range map[string]func(*runner.Mux){
		"kind":               func(m *runner.Mux) { m.Handle("a/b", registry.Rerunnable, h) },
		"is nil":             func(m *runner.Mux) { m.Handle("a", registry.Rerunnable, nil) },
		`disposition "exter`: func(m *runner.Mux) { m.Handle("a", registry.External, h) },
		`disposition ""`:     func(m *runner.Mux) { m.Handle("a", "", h) },
		"two handlers":       func(m *runner.Mux) { m.Handle("k", registry.OwnerBound, h) },
		"-1 attempts":        func(m *runner.Mux) { m.Handle("a", registry.Rerunnable, h, runner.WithMaxAttempts(-1)) },
		"-1s for each":       func(m *runner.Mux) { m.Handle("a", registry.Rerunnable, h, runner.WithAttemptTimeout(-time.Second)) },
	} {
		t.Run(want, func(t *testing.T) {
			m := runner.NewMux()
			m.Handle("k", registry.Rerunnable, h)
			defer func() {
				if value := fmt.Sprint(recover()); !strings.Contains(value, want) {
					t.Errorf("panicked with %q, want %q in it", value, want)
				}
				if kinds := m.Kinds(); len(kinds) != 1 || kinds[0] != "k" {
					t.Errorf("it knows %q", kinds)
				}
			}()
			handle(m)
		})
	}
}
