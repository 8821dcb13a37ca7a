package registry

import (
	"errors"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease"
)

// repairing is what the doctor finds to be repaired once, and nothing after.
func repairing(spoil func(t *testing.T, plain *Registry), check func(t *testing.T, plain *Registry)) scene {
	return func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
		spoil(t, plain)
		return func() error {
				report, err := r.Check(t.Context(), CheckOptions{Repair: true}, func(Finding) error { return nil })
				if err == nil && (report.Findings != 1 || report.Repaired != 1) {
					t.Errorf("%d findings, %d repaired; want one of each", report.Findings, report.Repaired)
				}
				return err
			}, func(t *testing.T) {
				report, err := plain.Check(t.Context(), CheckOptions{}, func(Finding) error { return nil })
				noErr(t, err)
				if report.Findings != 0 {
					t.Errorf("%d findings after the repair", report.Findings)
				}
				check(t, plain)
			}
	}
}

// tendingScenes are those of the roster, the queues, retention, space and the
// doctor.
func tendingScenes() map[string]scene {
	return map[string]scene{
		"pause": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			return func() error { return r.Pause(t.Context(), "default", "me") }, func(t *testing.T) {
				wantVersion(t, plain, plain.keys.queue("default"), 1)
			}
		},
		"resume": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			noErr(t, plain.Pause(t.Context(), "default", "me"))
			return func() error { return r.Resume(t.Context(), "default") }, func(t *testing.T) {
				wantVersion(t, plain, plain.keys.queue("default"), 0)
			}
		},
		"unclaim": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			start(t, plain, "p")
			e, s := entryOf(t, plain, "p"), join(t, plain, "n")
			write(t, plain, plain.keys.process("p"), "{cut")
			return func() error {
					_, err := r.Claim(t.Context(), s, e)
					if corrupt, ok := errors.AsType[*CorruptError](err); ok && corrupt.Key == r.keys.process("p") {
						return nil
					}
					return errors.Join(errors.New("the row is not said to be unreadable"), err)
				}, func(t *testing.T) {
					if left := keysUnder(t, plain, "claim/"); len(left) != 0 || len(pending(t, plain)) != 1 {
						t.Errorf("claims %v and %d pending, want it put back", left, len(pending(t, plain)))
					}
				}
		},
		"drop deadline": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			start(t, plain, "p", Deadline(time.Minute))
			timer := keysUnder(t, plain, "timer/")[0]
			value := lookAtKey(t, plain, plain.keys.root+timer)
			_, err := plain.Cancel(t.Context(), "p", Request{})
			noErr(t, err)
			write(t, plain, plain.keys.root+timer, value) // what a race can leave behind
			r.options.Now = func() time.Time { return time.Now().Add(time.Hour) }
			return func() error {
					_, _, err := r.Mature(t.Context(), 10)
					return err
				}, func(t *testing.T) {
					wants(t, plain, "p", StatusCancelled, 0, 0, 0, 0)
					if left := keysUnder(t, plain, "timer/"); len(left) != 0 {
						t.Errorf("left: %v", left)
					}
				}
		},
		"prune": prunes(1, func(*testing.T, *Registry) {}, func(t *testing.T, plain *Registry) {
			if left := keysUnder(t, plain, ""); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		}),
		"forget hint": prunes(0, func(t *testing.T, plain *Registry) {
			_, err := plain.Reopen(t.Context(), "p")
			noErr(t, err)
		}, func(t *testing.T, plain *Registry) {
			wants(t, plain, "p", StatusPending, 0, 0, 0, 0)
			if left := keysUnder(t, plain, "done/"); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		}),
		"mark full": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			return func() error {
					full, err := r.markSpace(t.Context(), []Member{{Size: 95, InUse: 95, Quota: 100}}, nil)
					if err == nil && !full {
						t.Error("it is not said to be full")
					}
					return err
				}, func(t *testing.T) {
					wantVersion(t, plain, plain.keys.full(), 1)
				}
		},
		"clear full": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			_, err := plain.markSpace(t.Context(), []Member{{Size: 95, InUse: 95, Quota: 100}}, nil)
			noErr(t, err)
			resp, err := plain.read(t.Context(), get(plain.keys.full()))
			noErr(t, err)
			mark := newView(resp.Responses)[plain.keys.full()]
			return func() error {
					full, err := r.markSpace(t.Context(), []Member{{Size: 1, InUse: 1, Quota: 100}}, mark)
					if full {
						t.Error("it is said to be full")
					}
					return err
				}, func(t *testing.T) {
					wantVersion(t, plain, plain.keys.full(), 0)
				}
		},
		"look after claim": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			start(t, plain, "p")
			s := join(t, plain, "n")
			c := claim(t, plain, s, "p")
			leave(t, s)
			return func() error {
				err := r.Progress(t.Context(), c, []byte(`1`))
				if errors.Is(err, ErrClaimLost) {
					return nil
				}
				return errors.Join(errors.New("the claim is not said to be lost"), err)
			}, func(t *testing.T) { wants(t, plain, "p", StatusOrphaned, 1, 0, 0, 0) }
		},
		"repair": repairing(func(t *testing.T, plain *Registry) {
			start(t, plain, "p")
			erase(t, plain, plain.keys.root+"pending/")
		}, func(t *testing.T, plain *Registry) {
			if n := len(pending(t, plain)); n != 1 {
				t.Errorf("%d places, want 1", n)
			}
		}),
		"repair what has ended": repairing(func(t *testing.T, plain *Registry) {
			cancelled(t, plain, "p")
			erase(t, plain, plain.keys.root+"done/")
		}, func(t *testing.T, plain *Registry) {
			if n := len(keysUnder(t, plain, "done/")); n != 1 {
				t.Errorf("%d hints, want 1", n)
			}
		}),
		"enroll": repairing(func(t *testing.T, plain *Registry) {
			s := join(t, plain, "n")
			erase(t, plain, plain.keys.node(s.ID()))
		}, func(t *testing.T, plain *Registry) {
			if n := len(keysUnder(t, plain, "node/")); n != 1 {
				t.Errorf("%d nodes, want 1", n)
			}
		}),
		"forget session": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			s := join(t, plain, "n")
			return func() error { return r.Leave(t.Context(), s) }, func(t *testing.T) {
				if left := keysUnder(t, plain, ""); len(left) != 0 {
					t.Errorf("left: %v", left)
				}
			}
		},
		"end detached session": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			s := join(t, plain, "n")
			start(t, plain, "p")
			claim(t, plain, s, "p")
			write(t, plain, s.Key(), `{"node":"n","queues":[]}`)
			return func() error { _, _, err := r.EndDeadSessions(t.Context()); return err },
				func(t *testing.T) { wants(t, plain, "p", StatusOrphaned, 1, 0, 0, 0) }
		},
		"testify": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			gone := lease.Self()
			gone.StartTime++ // the pid is somebody else's now
			if _, is := gone.Gone(); !is {
				t.Skip("this system does not tell when a process started")
			}
			s, err := plain.OpenSession(t.Context(), NodeInfo{Name: "n", Process: gone}, time.Minute)
			noErr(t, err)
			start(t, plain, "p")
			claim(t, plain, s, "p")
			leave(t, s)
			return func() error { _, _, err := r.EndDeadSessions(t.Context()); return err }, func(t *testing.T) {
				if n := nodeOf(t, plain, s); n.value.Evidence == "" || n.value.Process != gone {
					t.Errorf("the node's record is %+v", n.value)
				}
				wantVersion(t, plain, plain.keys.node(s.ID()), 2)
			}
		},
		"record witness": func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
			s := join(t, plain, "n")
			witness := lease.Identity{Host: "h", PID: 7}
			return func() error { return r.RecordWitness(t.Context(), s, witness) }, func(t *testing.T) {
				n := nodeOf(t, plain, s)
				if n.value.Witness != witness {
					t.Errorf("the witness is %+v", n.value.Witness)
				}
				will, err := plain.Testament(s)
				noErr(t, err)
				if will.Recorded != n.revision {
					t.Errorf("the testament is about revision %d of the record, which is at %d", will.Recorded, n.revision)
				}
			}
		},
	}
}

// prunes is for p, which has ended and may have been changed since.
func prunes(want int, change, check func(*testing.T, *Registry)) scene {
	return func(t *testing.T, plain, r *Registry) (func() error, func(*testing.T)) {
		cancelled(t, plain, "p")
		change(t, plain)
		return func() error {
			n, err := r.Prune(t.Context(), PruneOptions{Before: time.Now().Add(time.Hour)})
			if err == nil && n != want {
				t.Errorf("%d were pruned, want %d", n, want)
			}
			return err
		}, func(t *testing.T) { check(t, plain) }
	}
}

// nodeOf is the record of a session's node.
func nodeOf(t *testing.T, r *Registry, s *Session) Node {
	t.Helper()
	all, err := r.roster(t.Context())
	noErr(t, err)
	for _, n := range all {
		if n.Session == s.ID() {
			return n
		}
	}
	t.Fatalf("the session of %s is not in the roster", s.Node())
	return Node{}
}

// wantVersion fails unless the key was put so many times since it was there;
// 0 is a key that is not.
func wantVersion(t *testing.T, r *Registry, key string, version int64) {
	t.Helper()
	resp, err := r.read(t.Context(), clientv3.OpGet(key))
	noErr(t, err)
	var got int64
	if kv := newView(resp.Responses)[key]; kv != nil {
		got = kv.Version
	}
	if got != version {
		t.Errorf("%s is at version %d, want %d", strings.TrimPrefix(key, r.keys.root), got, version)
	}
}
