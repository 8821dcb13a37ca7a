package registry

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	errCut     = status.Error(codes.Unavailable, "the connection was cut")
	errTooLong = status.Error(codes.DeadlineExceeded, "it took too long")
)

func lose(err error) act {
	return func(send func() error) error {
		_ = send() // etcd did it
		return err
	}
}

func swallow(func() error) error { return errCut }

func twice(send func() error) error {
	if err := send(); err != nil {
		return err
	}
	return send()
}

// late holds a request back until the one after it has been answered. That it
// is not found meanwhile proves nothing.
func late() []act {
	var held func() error
	return []act{
		func(send func() error) error { held = send; return errCut },
		func(send func() error) error { err := send(); _ = held(); return err },
	}
}

// faults are what may happen to a transition. In the end each is answered.
func faults() map[string][]act {
	return map[string][]act{
		"nothing":                      nil,
		"the answer is lost":           {lose(errCut)},
		"the answer is lost twice":     {lose(errCut), lose(errTooLong)},
		"the answer comes too late":    {lose(errTooLong)},
		"it is lost":                   {swallow},
		"it is lost, then the answer":  {swallow, lose(errCut)},
		"it is delivered twice":        {twice},
		"it is late":                   late(),
		"there is no leader":           {lose(rpctypes.ErrGRPCNoLeader)},
		"there is no space afterwards": {lose(rpctypes.ErrGRPCNoSpace)},
	}
}

// scene is one transition: plain prepares it, call makes it over the wire, and
// check tells whether it happened just once.
type scene func(t *testing.T, plain, r *Registry) (call func() error, check func(t *testing.T))

func held(write func(context.Context, *Registry, *Claim) error, status Status, errs, snoozes int) scene {
	return func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
		start(t, plain, "p")
		c := claim(t, plain, join(t, plain, "n"), "p")
		return func() error { return write(t.Context(), r, c) }, func(t *testing.T) {
			p := wants(t, plain, "p", status, 1, errs, 0, snoozes)
			if len(p.History) != 1 {
				t.Errorf("history %+v", p.History)
			}
			if c.Session.knows(c.nonce) {
				t.Error("the session still counts the claim as held")
			}
		}
	}
}

func orphaned(run bool, status Status, attempt int) scene {
	return func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
		start(t, plain, "p")
		a, b := join(t, plain, "a"), join(t, plain, "b")
		claim(t, plain, a, "p")
		leave(t, a)
		o := orphanOf(t, plain, "p")
		return func() error {
				c, err := r.Adopt(t.Context(), b, o, run)
				if err == nil && run && (c == nil || c.Attempt != 2 || !b.knows(c.nonce)) {
					t.Errorf("adopted %+v", c)
				}
				return err
			}, func(t *testing.T) {
				wants(t, plain, "p", status, attempt, 0, 1, 0)
			}
	}
}

func scenes() map[string]scene {
	return map[string]scene{
		"start": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			return func() error {
				got, err := r.Start(t.Context(), Spec{ID: "p", Kind: "k", Disposition: Rerunnable})
				if got.Existing {
					t.Error("its own process is said to have been there before")
				}
				return err
			}, func(t *testing.T) { wants(t, plain, "p", StatusPending, 0, 0, 0, 0) }
		},
		"claim": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			start(t, plain, "p", input(`"in"`))
			e, s := entryOf(t, plain, "p"), join(t, plain, "n")
			return func() error {
				c, err := r.Claim(t.Context(), s, e)
				if err == nil && (string(c.Input) != `"in"` || c.Attempt != 1 || c.Fence != lookAt(t, plain, "p").Claim.Fence) {
					t.Errorf("claimed %+v", c)
				}
				return err
			}, func(t *testing.T) { wants(t, plain, "p", StatusRunning, 1, 0, 0, 0) }
		},
		"complete": held(func(ctx context.Context, r *Registry, c *Claim) error {
			return r.Complete(ctx, c, json.RawMessage(`1`))
		}, StatusCompleted, 0, 0),
		"fail": held(func(ctx context.Context, r *Registry, c *Claim) error {
			return r.Fail(ctx, c, "boom", "", nil)
		}, StatusFailed, 1, 0),
		"end cancelled": held(func(ctx context.Context, r *Registry, c *Claim) error {
			return r.EndCancelled(ctx, c, "", "", nil)
		}, StatusCancelled, 0, 0),
		"retry": held(func(ctx context.Context, r *Registry, c *Claim) error {
			return r.Retry(ctx, c, time.Now().Add(time.Hour), "boom")
		}, StatusScheduled, 1, 0),
		"snooze": held(func(ctx context.Context, r *Registry, c *Claim) error {
			return r.Snooze(ctx, c, time.Now().Add(time.Hour))
		}, StatusScheduled, 0, 1),
		"release": held(func(ctx context.Context, r *Registry, c *Claim) error {
			return r.Release(ctx, c)
		}, StatusPending, 0, 0),
		"adopt":          orphaned(true, StatusRunning, 2),
		"requeue orphan": orphaned(false, StatusPending, 1),
		"end orphan": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			start(t, plain, "p")
			a, b := join(t, plain, "a"), join(t, plain, "b")
			claim(t, plain, a, "p")
			leave(t, a)
			_, err := plain.Cancel(t.Context(), "p", Request{})
			noErr(t, err)
			o := orphanOf(t, plain, "p")
			return func() error {
				_, err := r.Adopt(t.Context(), b, o, true)
				return err
			}, func(t *testing.T) { wants(t, plain, "p", StatusCancelled, 1, 0, 0, 0) }
		},
		"cancel what waits": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			start(t, plain, "p")
			return func() error {
				ended, err := r.Cancel(t.Context(), "p", Request{})
				if err == nil && !ended {
					t.Error("not ended")
				}
				return err
			}, func(t *testing.T) { wants(t, plain, "p", StatusCancelled, 0, 0, 0, 0) }
		},
		"request": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			start(t, plain, "p")
			claim(t, plain, join(t, plain, "n"), "p")
			return func() error {
					ended, err := r.Cancel(t.Context(), "p", Request{By: "me"})
					if ended {
						t.Error("ended")
					}
					return err
				}, func(t *testing.T) {
					if q := wants(t, plain, "p", StatusRunning, 1, 0, 0, 0).CancelRequested; q == nil || q.By != "me" {
						t.Errorf("requested %+v", q)
					}
				}
		},
		"mature": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			start(t, plain, "p", At(time.Now().Add(time.Minute)))
			r.options.Now = func() time.Time { return time.Now().Add(time.Hour) }
			return func() error {
				_, _, err := r.Mature(t.Context(), 10)
				return err
			}, func(t *testing.T) { wants(t, plain, "p", StatusPending, 0, 0, 0, 0) }
		},
		"end session": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			start(t, plain, "p")
			claim(t, plain, join(t, plain, "n"), "p")
			nodes, err := plain.Nodes(t.Context())
			noErr(t, err)
			return func() error { return r.EndSession(t.Context(), nodes[0], "dead") },
				func(t *testing.T) { wants(t, plain, "p", StatusOrphaned, 1, 0, 0, 0) }
		},
	}
}

// Others may have gone on by the time that an answer is lost and the request
// sent again: it is recognised all the same.
func TestALostAnswerIsRecognisedAfterOthersWentOn(t *testing.T) {
	wire := newWire(t)
	setup := func(t *testing.T) (r, plain *Registry) {
		r = wire.registry(t)
		plain = newRegistry(t)
		plain.keys, plain.table = r.keys, r.table
		return r, plain
	}
	after := func(others func()) act {
		return func(send func() error) error {
			_ = send()
			others()
			return errCut
		}
	}
	t.Run("start", func(t *testing.T) {
		r, plain := setup(t)
		s := join(t, plain, "n")
		wire.nextWrites(after(func() { noErr(t, plain.Complete(t.Context(), claim(t, plain, s, "p"), nil)) }))
		got, err := r.Start(t.Context(), Spec{ID: "p", Kind: "k", Disposition: Rerunnable})
		if err != nil || got.Existing {
			t.Errorf("started %+v, %v", got, err)
		}
	})
	t.Run("retry", func(t *testing.T) {
		r, plain := setup(t)
		start(t, plain, "p")
		s := join(t, plain, "n")
		c := claim(t, plain, s, "p")
		wire.nextWrites(after(func() { noErr(t, plain.Complete(t.Context(), claim(t, plain, s, "p"), nil)) }))
		noErr(t, r.Retry(t.Context(), c, time.Now(), "boom"))
		wants(t, plain, "p", StatusCompleted, 2, 1, 0, 0)
	})
	t.Run("the end of a series that was opened again", func(t *testing.T) {
		for name, how := range map[string]func(t *testing.T, r, plain *Registry) error{
			"cancelled where it waited": func(t *testing.T, r, _ *Registry) error {
				start(t, r, "waited")
				ended, err := r.Cancel(t.Context(), "waited", Request{})
				if !ended {
					t.Error("not ended")
				}
				return err
			},
			"by its attempt": func(t *testing.T, r, plain *Registry) error {
				start(t, plain, "entered")
				return r.Complete(t.Context(), claim(t, plain, join(t, plain, "n"), "entered"), nil)
			},
			"by a claim never entered": func(t *testing.T, r, plain *Registry) error {
				start(t, plain, "not entered")
				c, err := plain.Claim(t.Context(), join(t, plain, "n"), entryOf(t, plain, "not entered"))
				noErr(t, err)
				return r.EndCancelled(t.Context(), c, "", "", nil)
			},
			"by an authority": func(t *testing.T, r, plain *Registry) error {
				startExternal(t, plain, "outside")
				return r.EndExternal(t.Context(), "outside", "them", ExternalEnd{Outcome: Completed})
			},
		} {
			t.Run(name, func(t *testing.T) {
				r, plain := setup(t)
				play := after(func() {
					page, err := plain.List(t.Context(), Filter{})
					noErr(t, err)
					_, err = plain.Reopen(t.Context(), page.Processes[0].ID)
					noErr(t, err)
				})
				if name == "cancelled where it waited" {
					wire.nextWrites(func(send func() error) error { return send() })
				}
				wire.nextWrites(play)
				noErr(t, how(t, r, plain))
				if n := wire.left(); n != 0 {
					t.Errorf("%d faults were not played", n)
				}
			})
		}
	})
	t.Run("request that was answered", func(t *testing.T) {
		r, plain := setup(t)
		start(t, plain, "p")
		c := claim(t, plain, join(t, plain, "n"), "p")
		wire.nextWrites(after(func() { noErr(t, plain.EndCancelled(t.Context(), c, "", "", nil)) }))
		_, err := r.Cancel(t.Context(), "p", Request{})
		wantErr(t, err, ErrEnded)
	})
	t.Run("claim that was lost meanwhile", func(t *testing.T) {
		r, plain := setup(t)
		start(t, plain, "p")
		e, a, b := entryOf(t, plain, "p"), join(t, plain, "a"), join(t, plain, "b")
		wire.nextWrites(after(func() {
			leave(t, a)
			_, err := plain.Adopt(t.Context(), b, orphanOf(t, plain, "p"), true)
			noErr(t, err)
		}))
		_, err := r.Claim(t.Context(), a, e)
		wantErr(t, err, ErrNotClaimable)
	})
}

// A request that is given up as unanswered may land at any later time. A claim
// that does is found as a stray and given back.
func TestAClaimThatLandsAfterItWasGivenUpIsAStray(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	start(t, r, "p")
	e, s := entryOf(t, r, "p"), join(t, r, "n")
	ctx, giveUp := context.WithCancelCause(t.Context())
	mine := errors.New("enough")
	var held func() error
	wire.nextWrites(func(send func() error) error {
		held = send
		giveUp(mine)
		return errCut
	})
	_, err := r.Claim(ctx, s, e)
	wantErr(t, err, ErrUnresolved)
	wantErr(t, err, mine)
	if n, err := r.Strays(t.Context(), s); n != 0 || err != nil {
		t.Fatalf("%d strays, %v", n, err)
	}
	wants(t, r, "p", StatusPending, 0, 0, 0, 0)
	noErr(t, held())
	wants(t, r, "p", StatusRunning, 1, 0, 0, 0)
	if n, err := r.Strays(t.Context(), s); n != 1 || err != nil {
		t.Fatalf("%d strays, %v", n, err)
	}
	wants(t, r, "p", StatusPending, 0, 0, 0, 0)
	noErr(t, held()) // and once more
	wants(t, r, "p", StatusPending, 0, 0, 0, 0)
}

// So is a takeover: the process is adopted and given back, as by a node that
// took it and did not come to enter it.
func TestATakeoverThatLandsAfterItWasGivenUpIsAStray(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	start(t, r, "p")
	a, b := join(t, r, "a"), join(t, r, "b")
	claim(t, r, a, "p")
	leave(t, a)
	o := orphanOf(t, r, "p")
	land := givenUp(t, wire, func(ctx context.Context) error { _, err := r.Adopt(ctx, b, o, true); return err })
	noErr(t, land())
	wants(t, r, "p", StatusRunning, 2, 0, 1, 0)
	if n, err := r.Strays(t.Context(), b); n != 1 || err != nil {
		t.Fatalf("%d strays, %v", n, err)
	}
	wants(t, r, "p", StatusPending, 1, 0, 1, 0)
	noErr(t, land()) // and once more
	c := claim(t, r, b, "p")
	noErr(t, r.Complete(t.Context(), c, nil))
	if p := wants(t, r, "p", StatusCompleted, 2, 0, 1, 0); len(p.History) != 2 {
		t.Errorf("history %+v", p.History)
	}
}

// What lands late must not undo what happened meanwhile.
func TestAnOutcomeThatLandsAfterAdoptionIsRefused(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	start(t, r, "p")
	a, b := join(t, r, "a"), join(t, r, "b")
	c := claim(t, r, a, "p")
	ctx, giveUp := context.WithCancel(t.Context())
	var held func() error
	wire.nextWrites(func(send func() error) error {
		held = send
		giveUp()
		return errCut
	})
	wantErr(t, r.Complete(ctx, c, nil), ErrUnresolved)
	leave(t, a)
	_, err := r.Adopt(t.Context(), b, orphanOf(t, r, "p"), true)
	noErr(t, err)
	noErr(t, held())
	wants(t, r, "p", StatusRunning, 2, 0, 1, 0)
	wantErr(t, r.Complete(t.Context(), c, nil), ErrClaimLost)
}

func TestARefusalByEtcdIsDefinite(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	wire.nextWrites(func(func() error) error { return rpctypes.ErrGRPCPermissionDenied })
	_, err := r.Start(t.Context(), Spec{ID: "p", Kind: "k", Disposition: Rerunnable})
	wantErr(t, err, ErrDenied)
	if errors.Is(err, ErrUnresolved) {
		t.Errorf("%v, and nothing was done", err)
	}
	_, err = r.Get(t.Context(), "p")
	wantErr(t, err, ErrNotFound)
}

// That a second copy is refused says nothing of the first one.
func TestARefusalAfterALostAnswerProvesNothing(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	wire.nextWrites(lose(errCut), func(func() error) error { return rpctypes.ErrGRPCPermissionDenied })
	_, err := r.Start(t.Context(), Spec{ID: "p", Kind: "k", Disposition: Rerunnable})
	wantErr(t, err, ErrUnresolved)
	wantErr(t, err, ErrDenied)
	wants(t, r, "p", StatusPending, 0, 0, 0, 0)
}

func TestUnansweredIsRepeatedUntilTheContextEnds(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	ctx, cancel := context.WithCancel(t.Context())
	wire.nextWrites(swallow, swallow, func(func() error) error { cancel(); return errCut })
	_, err := r.Start(ctx, Spec{ID: "p", Kind: "k", Disposition: Rerunnable})
	wantErr(t, err, ErrUnresolved)
	wantErr(t, err, context.Canceled)
	if n := wire.left(); n != 0 {
		t.Errorf("%d were not sent", n)
	}
}

func TestCloseEndsWhatIsRepeated(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	wire.nextWrites(func(func() error) error { go func() { _ = r.Close() }(); return errCut },
		swallow, swallow, swallow, swallow, swallow, swallow, swallow, swallow, swallow, swallow)
	_, err := r.Start(t.Context(), Spec{ID: "p", Kind: "k", Disposition: Rerunnable})
	wantErr(t, err, ErrClosed)
}

// Whoever gives up during a repeat is told what etcd had said before.
func TestGivingUpDuringARepeatTellsWhatEtcdSaid(t *testing.T) {
	w := newWire(t)
	r := w.registry(t)
	ctx, giveUp := context.WithCancel(t.Context())
	w.nextWrites(
		func(func() error) error { return rpctypes.ErrGRPCNoSpace },
		func(func() error) error { giveUp(); <-ctx.Done(); return errCut },
	)
	_, err := r.Start(ctx, Spec{ID: "p", Kind: "k", Disposition: Rerunnable})
	wantErr(t, err, ErrUnresolved)
	wantErr(t, err, ErrNoSpace)
	wantErr(t, err, context.Canceled)
}
