package kinds

import (
	"context"

	"github.com/drover-run/drover/runner"
)

// Noop is the handler of noop: it takes any input, does nothing and has no output.
func Noop() runner.Handler {
	return runner.HandlerFunc(func(context.Context, *runner.Attempt) (any, error) { return nil, nil })
}
