package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"
)

func TestDecide(t *testing.T) {
	broken := errors.New("broken")
	fresh := counters{errors: 0, maxAttempts: 3, backoff: 8 * time.Second}
	lastChance := counters{errors: 2, maxAttempts: 3, backoff: time.Second}
	out := json.RawMessage(`{"n":1}`)
	for _, tc := range []struct {
		name   string
		cause  error
		err    error
		output json.RawMessage
		facts  counters
		want   verdict
	}{
		{name: "a value completes", output: out, facts: fresh, want: verdict{kind: verdictComplete, output: out}},
		{name: "a value completes in spite of a request", cause: ErrCancelRequested, output: out, facts: fresh, want: verdict{kind: verdictComplete, output: out}},
		{name: "a value completes in spite of a shutdown", cause: ErrShutdown, facts: fresh, want: verdict{kind: verdictComplete}},
		{name: "a value after the lease was lost is nothing", cause: ErrLeaseLost, output: out, facts: fresh, want: verdict{kind: verdictDiscard}},
		{name: "an error after the lease was lost is nothing", cause: ErrLeaseLost, err: Fail(broken), facts: fresh, want: verdict{kind: verdictDiscard}},
		{name: "an error is retried with half the back-off", err: broken, facts: fresh, want: verdict{kind: verdictRetry, delay: 4 * time.Second, err: "broken"}},
		{name: "the last error fails and keeps the output", err: broken, output: out, facts: lastChance, want: verdict{kind: verdictFail, reason: "too many errors", err: "broken", output: out}},
		{name: "an error after a request cancels", cause: ErrCancelRequested, err: broken, facts: fresh, want: verdict{kind: verdictCancel, err: "broken"}},
		{name: "an error after a shutdown hands back", cause: ErrShutdown, err: broken, facts: lastChance, want: verdict{kind: verdictRelease}},
		{name: "Fail fails at once", err: fmt.Errorf("wrapped: %w", Fail(broken)), facts: fresh, want: verdict{kind: verdictFail, reason: "its handler said so", err: "wrapped: broken"}},
		{name: "Fail fails also in a shutdown", cause: ErrShutdown, err: Fail(broken), facts: fresh, want: verdict{kind: verdictFail, reason: "its handler said so", err: "broken"}},
		{name: "Fail needs no error", err: Fail(nil), facts: fresh, want: verdict{kind: verdictFail, reason: "its handler said so", err: "failed"}},
		{name: "Cancel cancels", err: Cancel(broken), facts: fresh, want: verdict{kind: verdictCancel, reason: "its handler said so", err: "broken"}},
		{name: "RetryAfter gives the delay", err: RetryAfter(time.Minute, broken), facts: fresh, want: verdict{kind: verdictRetry, delay: time.Minute, err: "broken"}},
		{name: "RetryAfter is still an error", err: RetryAfter(time.Minute, broken), facts: lastChance, want: verdict{kind: verdictFail, reason: "too many errors", err: "broken"}},
		{name: "Snooze is no error", err: Snooze(time.Hour), facts: lastChance, want: verdict{kind: verdictSnooze, delay: time.Hour, err: "snoozed for 1h0m0s"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := decide(tc.cause, tc.err, tc.output, tc.facts, 0.5); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestBackoffDoublesUpToTenMinutes(t *testing.T) {
	for errors, want := range []time.Duration{
		time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second,
		64 * time.Second, 128 * time.Second, 256 * time.Second, 512 * time.Second, 10 * time.Minute, 10 * time.Minute,
	} {
		if got := jittered(time.Second, errors, 1); got != want {
			t.Errorf("after %d errors: at most %s, want %s", errors, got, want)
		}
	}
	if got := jittered(time.Hour, 0, 1); got != 10*time.Minute {
		t.Errorf("a base of an hour: at most %s, want 10m", got)
	}
	if got := jittered(time.Second, 5, 0); got != 0 {
		t.Errorf("full jitter starts at %s, want 0", got)
	}
	if got := jittered(time.Second, 1_000_000, 1); got != 10*time.Minute {
		t.Errorf("after a million errors: %s, want 10m", got)
	}
}
