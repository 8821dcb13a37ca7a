package runner_test

import (
	"context"
	"testing"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// brittle is an error whose nil pointer is no nil error, and can't say what it
// is.
type brittle struct{ text string }

func (e *brittle) Error() string { return e.text }

type unprintable struct{}

func (unprintable) MarshalJSON() ([]byte, error) { panic("can't be written") }

func TestWhatAHandlerReturnsMayPanic(t *testing.T) {
	for name, test := range map[string]struct {
		handler runner.HandlerFunc
		why     string
	}{
		"a nil pointer in an error": {
			func(context.Context, *runner.Attempt) (any, error) { var e *brittle; return nil, e },
			"panic: runtime error: invalid memory address or nil pointer dereference",
		},
		"an output for no error": {
			func(context.Context, *runner.Attempt) (any, error) { return nil, runner.WithOutput(nil, 7) },
			"panic: runtime error: invalid memory address or nil pointer dereference",
		},
		"an output that can't be marshalled": {
			func(context.Context, *runner.Attempt) (any, error) { return unprintable{}, nil },
			"panic: can't be written",
		},
		"a reference that can't be marshalled": {
			func(context.Context, *runner.Attempt) (any, error) { return nil, runner.HandOff(unprintable{}, "") },
			"panic: can't be written",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, report := run(t, test.handler, registry.MaxAttempts(1))
			if report.Outcome != registry.Failed || report.Err != nil {
				t.Fatalf("reported %+v", report)
			}
			if p := b.get("x"); p.Error != test.why {
				t.Errorf("it failed with %q, want %q", p.Error, test.why)
			}
		})
	}
}
