package registry

import (
	"strings"
	"testing"
	"time"
)

func TestCancelEndsWhatWaits(t *testing.T) {
	for name, put := range map[string]func(*testing.T, *Registry){
		"pending":   func(t *testing.T, r *Registry) { start(t, r, "p") },
		"scheduled": func(t *testing.T, r *Registry) { start(t, r, "p", At(time.Now().Add(time.Hour))) },
		"retrying": func(t *testing.T, r *Registry) {
			start(t, r, "p")
			noErr(t, r.Retry(t.Context(), claim(t, r, join(t, r, "n"), "p"), time.Now().Add(time.Hour), "x"))
		},
		"matured": func(t *testing.T, r *Registry) {
			clock := time.Now()
			r.options.Now = func() time.Time { return clock }
			start(t, r, "p", At(clock.Add(time.Minute)))
			clock = clock.Add(time.Hour)
			n, _, err := r.Mature(t.Context(), 10)
			noErr(t, err)
			if n != 1 {
				t.Fatalf("%d matured", n)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			put(t, r)
			ended, err := r.Cancel(t.Context(), "p", Request{Reason: "not wanted"})
			noErr(t, err)
			if p := lookAt(t, r, "p"); !ended || p.Status != StatusCancelled || p.OutcomeReason != "not wanted" {
				t.Fatalf("ended %v, it is %+v", ended, p)
			}
			for _, prefix := range []string{"pending/", "timer/", "claim/", "request/"} {
				if left := keysUnder(t, r, prefix); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
			}
			_, err = r.Cancel(t.Context(), "p", Request{})
			wantErr(t, err, ErrEnded)
		})
	}
}

func TestCancelAsksTheHolderOnce(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	claim(t, r, join(t, r, "n"), "p")
	for _, by := range []string{"first", "second"} {
		ended, err := r.Cancel(t.Context(), "p", Request{By: by, Reason: "why"})
		noErr(t, err)
		if ended {
			t.Error("it ended")
		}
	}
	q := wants(t, r, "p", StatusRunning, 1, 0, 0, 0).CancelRequested
	if q == nil || q.By != "first" || q.Reason != "why" || q.At.IsZero() {
		t.Errorf("requested by %+v", q)
	}
	standing, err := r.Requests(t.Context())
	noErr(t, err)
	if len(standing) != 1 || standing["p"].By != "first" {
		t.Errorf("standing: %+v", standing)
	}
}

func TestCancelOfNothing(t *testing.T) {
	_, err := newRegistry(t).Cancel(t.Context(), "p", Request{})
	wantErr(t, err, ErrNotFound)
}

func TestCancelTakesAnyReason(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	start(t, r, "q")
	claim(t, r, join(t, r, "n"), "p")
	long := strings.Repeat("x", 3<<20)
	for _, id := range []string{"p", "q"} {
		_, err := r.Cancel(t.Context(), id, Request{By: long, Reason: long})
		noErr(t, err)
	}
}
