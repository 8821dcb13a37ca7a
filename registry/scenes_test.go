package registry

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// mine is a key of a user's, apart from those of other tests.
func mine(r *Registry, name string) string { return "/mine" + r.keys.root + name }

// wantOnce fails unless the key was put just once, with this value.
func wantOnce(t *testing.T, r *Registry, key, value string) {
	t.Helper()
	resp, err := r.client.Get(t.Context(), key)
	noErr(t, err)
	if len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != value || resp.Kvs[0].Version != 1 {
		t.Errorf("%s is %+v, want it put once as %q", key, resp.Kvs, value)
	}
}

func startExternal(t *testing.T, r *Registry, id string, opts ...StartOption) {
	t.Helper()
	s := Spec{ID: id, Kind: "k", Disposition: External}
	_, err := r.Start(t.Context(), s.With(opts...))
	noErr(t, err)
}

// underClaim is a write that leaves the claim where it is.
func underClaim(write func(context.Context, *Registry, *Claim) error, check func(*testing.T, *Registry, *Claim)) scene {
	return func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
		start(t, plain, "p")
		c := claim(t, plain, join(t, plain, "n"), "p")
		return func() error { return write(t.Context(), r, c) }, func(t *testing.T) {
			wants(t, plain, "p", StatusRunning, 1, 0, 0, 0)
			if !c.Session.knows(c.nonce) {
				t.Error("the session has forgotten the claim")
			}
			check(t, plain, c)
		}
	}
}

// expiring is a deadline that passes by r's clock.
func expiring(prepare func(*testing.T, *Registry), check func(*testing.T, *Registry)) scene {
	return func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
		start(t, plain, "p", Deadline(time.Minute))
		prepare(t, plain)
		r.options.Now = func() time.Time { return time.Now().Add(time.Hour) }
		return func() error {
			_, _, err := r.Mature(t.Context(), 10)
			return err
		}, func(t *testing.T) { check(t, plain) }
	}
}

// ends is a call that says whether it ended the process.
func ends(call func(context.Context) (bool, error)) func(*testing.T) error {
	return func(t *testing.T) error {
		ended, err := call(t.Context())
		if err == nil && !ended {
			t.Error("not ended")
		}
		return err
	}
}

// wholeLifeScenes are those of what people and clocks do to processes, and of
// what attempts write beside their outcome.
func wholeLifeScenes() map[string]scene {
	return map[string]scene{
		"abandon request": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			owned(t, plain, "p")
			_, err := plain.Cancel(t.Context(), "p", Request{By: "somebody"})
			noErr(t, err)
			return func() error {
					ended, err := r.Abandon(t.Context(), "p", Request{By: "me"})
					if ended {
						t.Error("ended")
					}
					return err
				}, func(t *testing.T) {
					if q := wants(t, plain, "p", StatusRunning, 1, 0, 0, 0).CancelRequested; q == nil || q.What != RequestAbandon || q.By != "me" {
						t.Errorf("requested %+v", q)
					}
				}
		},
		"abandon orphan": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			a, _ := owned(t, plain, "p")
			leave(t, a)
			call := ends(func(ctx context.Context) (bool, error) { return r.Abandon(ctx, "p", Request{By: "me"}) })
			return func() error { return call(t) }, func(t *testing.T) { wantEvidence(t, plain, "p", EvidenceRequest) }
		},
		"abandon parked": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			startExternal(t, plain, "p")
			call := ends(func(ctx context.Context) (bool, error) { return r.Abandon(ctx, "p", Request{By: "me"}) })
			return func() error { return call(t) }, func(t *testing.T) { wantEvidence(t, plain, "p", EvidenceRequest) }
		},
		"abandon own": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			_, c := owned(t, plain, "p")
			return func() error { return r.AbandonOwn(t.Context(), c, "", nil) },
				func(t *testing.T) { wantEvidence(t, plain, "p", EvidenceOwnerDrain) }
		},
		"end external": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			startExternal(t, plain, "p", Authority("them"))
			return func() error {
				return r.EndExternal(t.Context(), "p", "them", ExternalEnd{Outcome: Failed, Error: "boom"})
			}, func(t *testing.T) { wants(t, plain, "p", StatusFailed, 0, 1, 0, 0) }
		},
		"reopen": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			start(t, plain, "p")
			noErr(t, plain.Complete(t.Context(), claim(t, plain, join(t, plain, "n"), "p"), nil))
			return func() error {
					s, err := r.Reopen(t.Context(), "p")
					if err == nil && s.Series != 2 {
						t.Errorf("opened %+v", s)
					}
					return err
				}, func(t *testing.T) {
					if p := wants(t, plain, "p", StatusPending, 1, 0, 0, 0); p.Series != 2 {
						t.Errorf("series %d", p.Series)
					}
				}
		},
		"deadline of what waits": expiring(func(*testing.T, *Registry) {}, func(t *testing.T, plain *Registry) {
			if p := wants(t, plain, "p", StatusFailed, 0, 0, 0, 0); p.OutcomeReason != "deadline passed" {
				t.Errorf("reason %q", p.OutcomeReason)
			}
		}),
		"deadline of what runs": expiring(func(t *testing.T, plain *Registry) {
			claim(t, plain, join(t, plain, "n"), "p")
		}, func(t *testing.T, plain *Registry) {
			if q := wants(t, plain, "p", StatusRunning, 1, 0, 0, 0).CancelRequested; q == nil || q.What != RequestDeadline {
				t.Errorf("requested %+v", q)
			}
			if left := keysUnder(t, plain, "timer/"); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		}),
		"hand off": held(func(ctx context.Context, r *Registry, c *Claim) error {
			return r.HandOff(ctx, c, Reference{Value: json.RawMessage(`"there"`)})
		}, StatusParked, 0, 0),
		"progress": underClaim(func(ctx context.Context, r *Registry, c *Claim) error {
			return r.Progress(ctx, c, json.RawMessage(`1`))
		}, func(t *testing.T, plain *Registry, _ *Claim) {
			if p := lookAt(t, plain, "p"); string(p.Progress) != "1" {
				t.Errorf("progress %s", p.Progress)
			}
		}),
		"checkpoint": underClaim(func(ctx context.Context, r *Registry, c *Claim) error {
			return r.Checkpoint(ctx, c, "one", json.RawMessage(`1`))
		}, func(t *testing.T, plain *Registry, c *Claim) {
			steps, err := plain.Steps(t.Context(), c)
			noErr(t, err)
			if string(steps["one"]) != "1" {
				t.Errorf("steps %s", steps)
			}
		}),
		"transaction": underClaim(func(ctx context.Context, r *Registry, c *Claim) error {
			resp, err := r.Txn(ctx, c, []clientv3.Cmp{absent(mine(r, "key"))}, clientv3.OpPut(mine(r, "key"), "x"))
			if err == nil && !resp.Succeeded {
				err = errors.New("it is said not to have happened")
			}
			return err
		}, func(t *testing.T, plain *Registry, _ *Claim) { wantOnce(t, plain, mine(plain, "key"), "x") }),
		"complete with": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			call, check := held(func(ctx context.Context, r *Registry, c *Claim) error {
				return r.CompleteWith(ctx, c, nil, clientv3.OpPut(mine(r, "key"), "x"))
			}, StatusCompleted, 0, 0)(t, plain, r)
			return call, func(t *testing.T) { check(t); wantOnce(t, plain, mine(plain, "key"), "x") }
		},
		"start if": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			return func() error {
					got, err := r.StartIf(t.Context(), Spec{ID: "p", Kind: "k", Disposition: Rerunnable},
						[]clientv3.Cmp{absent(mine(r, "key"))}, clientv3.OpPut(mine(r, "key"), "x"))
					if got.Existing {
						t.Error("its own process is said to have been there before")
					}
					return err
				}, func(t *testing.T) {
					wants(t, plain, "p", StatusPending, 0, 0, 0, 0)
					wantOnce(t, plain, mine(plain, "key"), "x")
				}
		},
		"start many": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			specs := specsOf("p", "q", "r")
			return func() error {
					var errs []error
					for _, got := range r.StartMany(t.Context(), specs, StartManyOptions{AllOrNothing: true}) {
						if got.Existing {
							t.Errorf("%s is said to have been there before", got.ID)
						}
						errs = append(errs, got.Err)
					}
					return errors.Join(errs...)
				}, func(t *testing.T) {
					for _, s := range specs {
						wants(t, plain, s.ID, StatusPending, 0, 0, 0, 0)
					}
				}
		},
	}
}

func specsOf(ids ...string) []Spec {
	specs := make([]Spec, len(ids))
	for i, id := range ids {
		specs[i] = Spec{ID: id, Kind: "k", Disposition: Rerunnable}
	}
	return specs
}
