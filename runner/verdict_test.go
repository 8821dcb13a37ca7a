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
	fresh := counters{errors: 0, maxAttempts: 3, policy: policyOf(4 * time.Second)}
	owned := counters{maxAttempts: 3, policy: policyOf(time.Second), ownerBound: true}
	lastChance := counters{errors: 2, maxAttempts: 3, policy: policyOf(time.Second)}
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
		{name: "an error is retried by the policy", err: broken, facts: fresh, want: verdict{kind: verdictRetry, delay: 4 * time.Second, err: "broken"}},
		{name: "the last error fails and keeps the output", err: broken, output: out, facts: lastChance, want: verdict{kind: verdictFail, reason: "too many errors", err: "broken", output: out}},
		{name: "an error after a request cancels", cause: ErrCancelRequested, err: broken, facts: fresh, want: verdict{kind: verdictRequested, err: "broken"}},
		{name: "an error after the deadline ends as asked", cause: ErrDeadline, err: broken, facts: fresh, want: verdict{kind: verdictRequested, err: "broken"}},
		{name: "an error after an abandon request ends as asked", cause: ErrAbandonRequested, err: broken, output: out, facts: owned, want: verdict{kind: verdictRequested, err: "broken", output: out}},
		{name: "an error after a time-out is retried", cause: ErrAttemptTimeout, err: broken, facts: fresh, want: verdict{kind: verdictRetry, delay: 4 * time.Second, err: "attempt timed out: broken"}},
		{name: "the last time-out fails", cause: ErrAttemptTimeout, err: broken, facts: lastChance, want: verdict{kind: verdictFail, reason: "too many errors", err: "attempt timed out: broken"}},
		{name: "a value after a time-out completes", cause: ErrAttemptTimeout, facts: fresh, want: verdict{kind: verdictComplete}},
		{name: "owner-bound work is not retried", err: broken, output: out, facts: owned, want: verdict{kind: verdictFail, reason: "owner-bound work is not run again", err: "broken", output: out}},
		{name: "owner-bound work is not retried later", err: RetryAfter(time.Hour, broken), facts: owned, want: verdict{kind: verdictFail, reason: "owner-bound work is not run again", err: "broken"}},
		{name: "owner-bound work does not snooze", err: Snooze(time.Hour), facts: owned, want: verdict{kind: verdictFail, reason: "owner-bound work is not run again", err: "snoozed for 1h0m0s"}},
		{name: "owner-bound work is abandoned in a shutdown", cause: ErrShutdown, err: broken, output: out, facts: owned, want: verdict{kind: verdictAbandon, err: "broken", output: out}},
		{name: "owner-bound work completes in a shutdown", cause: ErrShutdown, output: out, facts: owned, want: verdict{kind: verdictComplete, output: out}},
		{name: "a hand-off is one", err: HandOff("there", "them"), facts: owned, want: verdict{kind: verdictHandOff, reference: "there", authority: "them", err: "handed off"}},
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
			if got := decide(tc.cause, tc.err, tc.output, tc.facts); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

// policyOf is a policy that can be compared.
type policyOf time.Duration

func (p policyOf) Delay(int, error) time.Duration { return time.Duration(p) }

func TestAPolicyIsToldOfTheError(t *testing.T) {
	broken := errors.New("broken")
	facts := counters{errors: 4, maxAttempts: 10, policy: PolicyFunc(func(errs int, err error) time.Duration {
		if errs != 5 || !errors.Is(err, broken) {
			t.Errorf("told of %d errors, the last being %v", errs, err)
		}
		return -time.Second
	})}
	if v := decide(nil, fmt.Errorf("it is %w", broken), nil, facts); v.kind != verdictRetry || v.delay != 0 {
		t.Errorf("decided %+v", v)
	}
}

func TestBackoffDoublesUpToTenMinutes(t *testing.T) {
	for errors, want := range []time.Duration{
		time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second,
		64 * time.Second, 128 * time.Second, 256 * time.Second, 512 * time.Second, 10 * time.Minute, 10 * time.Minute,
	} {
		if got := (Exponential{}).jittered(errors+1, 1); got != want {
			t.Errorf("after %d errors: at most %s, want %s", errors+1, got, want)
		}
	}
	for _, tc := range []struct {
		policy Exponential
		errors int
		random float64
		want   time.Duration
	}{
		{Exponential{Base: time.Hour}, 1, 1, 10 * time.Minute},
		{Exponential{}, 6, 0, 0},
		{Exponential{}, 1_000_000, 1, 10 * time.Minute},
		{Exponential{Base: 2 * time.Second, Cap: 5 * time.Second}, 2, 0.5, 2 * time.Second},
		{Exponential{Base: 2 * time.Second, Cap: 5 * time.Second}, 3, 0.5, 2500 * time.Millisecond},
	} {
		if got := tc.policy.jittered(tc.errors, tc.random); got != tc.want {
			t.Errorf("%+v after %d errors, chance %g: %s, want %s", tc.policy, tc.errors, tc.random, got, tc.want)
		}
	}
}
