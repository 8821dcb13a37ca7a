package kinds

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/drover-run/drover/runner"
)

// Sleep is the handler of sleep, whose input {"duration":"10s"} says how long; it has no output. Each attempt sleeps
// for the whole time.
func Sleep() runner.Handler {
	return runner.HandlerFunc(func(ctx context.Context, a *runner.Attempt) (any, error) {
		d, err := parseSleep(a.Input())
		if err != nil {
			return nil, runner.Fail(err)
		}
		return nil, sleep(ctx, d)
	})
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func parseSleep(input json.RawMessage) (time.Duration, error) {
	var in struct {
		Duration string `json:"duration"`
	}
	if err := decodeStrictly(input, &in); err != nil {
		return 0, fmt.Errorf("input of sleep: %w", err)
	}
	d, err := time.ParseDuration(in.Duration)
	if err != nil {
		return 0, fmt.Errorf(`input of sleep: duration: it must be like "10s" or "1h30m": %w`, err)
	}
	if d < 0 {
		return 0, fmt.Errorf("input of sleep: duration %s: it must not be negative", d)
	}
	return d, nil
}
