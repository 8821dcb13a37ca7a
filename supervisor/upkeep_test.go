package supervisor

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// filled is what a look finds where data fill so many percent, with so many
// nodes that live.
func filled(percent int64, nodes int) registry.Space {
	return registry.Space{Members: []registry.Member{{InUse: percent, Quota: 100}}, Nodes: nodes, Full: percent >= 80}
}

func ample(context.Context) (registry.Space, error) { return filled(1, 1), nil }

func TestPruningLooksAboutOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var looks []time.Duration
		u := newUpkeep(ample, func(context.Context, registry.Space) (int, bool, error) {
			looks = append(looks, time.Since(begun))
			switch len(looks) {
			case 2:
				panic("a fault")
			case 3:
				return 0, true, errors.New("etcd is away")
			}
			return 1, false, nil
		}, zap.NewNop())
		u.start()
		time.Sleep(time.Hour)
		if err := u.stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(looks); n < 48 || n > 75 || looks[0] > time.Minute+3*time.Second {
			t.Errorf("it looked %d times in an hour, at first after %s", n, looks[0])
		}
		for i := range len(looks) - 1 {
			if pause := looks[i+1] - looks[i]; pause < 48*time.Second || pause > 75*time.Second {
				t.Errorf("a pause of %s, want 48s to 75s", pause)
			}
		}
	})
}

// lookTimes are when one of so many nodes looks in a minute, at what is so full.
func lookTimes(t *testing.T, s registry.Space, retain func(context.Context, registry.Space) (int, bool, error)) (looks []time.Time) {
	t.Helper()
	u := newUpkeep(func(context.Context) (registry.Space, error) {
		looks = append(looks, time.Now())
		return s, nil
	}, retain, zap.NewNop())
	u.start()
	time.Sleep(time.Minute)
	if err := u.stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	return looks
}

func TestNodesShareTheLooksAtSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idle := func(context.Context, registry.Space) (int, bool, error) { return 0, false, nil }
		if n := len(lookTimes(t, filled(1, 1), idle)); n < 25 || n > 38 {
			t.Errorf("a node that is alone looked %d times in a minute, want about 30", n)
		}
		if n := len(lookTimes(t, filled(1, 10), idle)); n < 2 || n > 5 {
			t.Errorf("one of ten looked %d times in a minute, want about 3", n)
		}
		looks := lookTimes(t, filled(1, 1), idle)
		var pauses []time.Duration
		for i := range len(looks) - 1 {
			pauses = append(pauses, looks[i+1].Sub(looks[i]))
		}
		slices.Sort(pauses)
		if even := len(pauses) - len(slices.Compact(pauses)); even > 5 {
			t.Errorf("%d pauses are as long as another", even)
		}
	})
}

func TestScarceSpaceIsLookedAfterAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fills []float64
		work := 5 // passes
		lookTimes(t, filled(60, 1), func(_ context.Context, s registry.Space) (int, bool, error) {
			fills = append(fills, s.Fills())
			time.Sleep(time.Second) // it takes
			work--
			return 10_000, work > 0, nil
		})
		if n := len(fills); n < 35 || n > 45 || fills[0] != 0.6 {
			t.Errorf("it deleted %d times in a minute, at first at %v", n, fills)
		}
	})
}

func TestManyToDeleteTakeHalfOfTheTime(t *testing.T) {
	for name, beside := range map[string]error{
		"all of it": nil, "beside what can't be read": &registry.CorruptError{Key: "done/x", Why: errors.New("a test says so")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var busy time.Duration
				lookTimes(t, filled(60, 100), func(context.Context, registry.Space) (int, bool, error) {
					time.Sleep(500 * time.Millisecond)
					busy += 500 * time.Millisecond
					return 10_000, true, beside
				})
				if busy < 28*time.Second || busy > 31*time.Second {
					t.Errorf("it deleted for %s of a minute, want half of it", busy)
				}
			})
		})
	}
}

func TestUpkeepStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpkeep(ample, func(ctx context.Context, _ registry.Space) (int, bool, error) {
			<-ctx.Done()
			return 0, false, ctx.Err()
		}, zap.NewNop())
		if err := u.stop(t.Context()); err != nil {
			t.Errorf("stop before start: %v", err)
		}
		u.start()
		time.Sleep(2 * time.Minute) // it is on
		if err := u.stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestUpkeepSaysWhatIsWrongOnce(t *testing.T) {
	logs, seen := observer.New(zapcore.InfoLevel)
	var err, lookErr error
	space := filled(1, 1)
	u := newUpkeep(func(context.Context) (registry.Space, error) { return space, lookErr },
		func(context.Context, registry.Space) (int, bool, error) { return 0, false, err }, zap.New(logs))
	once := func(want ...string) {
		t.Helper()
		u.pruneAt = time.Time{}
		u.once(t.Context())
		var said []string
		for _, e := range seen.TakeAll() {
			said = append(said, e.Message)
		}
		if !slices.Equal(said, want) {
			t.Errorf("it said %q, want %q", said, want)
		}
	}
	const prune = "what was kept long enough can't be deleted, it is tried again"
	once()
	err = errors.New("a")
	once(prune)
	once()
	err = nil
	once()
	err = errors.New("a")
	once(prune)
	err = errors.New("b")
	once(prune)
	lookErr = errors.New("no")
	once("how full etcd is can't be found out, it is tried again")
	once()
	lookErr = registry.ErrUnavailable // the session says that
	once()
	lookErr, space = nil, filled(81, 1)
	const less = "what has ended is kept for less than by default, space is scarce"
	once("etcd is nearly full, nothing new is started", less)
	once()
	space = filled(60, 1)
	once("etcd has room again")
	space = filled(49, 1) // about there it may stay for long
	once()
	space = filled(52, 1)
	once()
	space = filled(44, 1)
	once("what has ended is kept for as long as by default again")
	once()
	space = filled(52, 1)
	once(less)
}

func TestUpkeepSaysNothingOfARetentionThatWasGiven(t *testing.T) {
	logs, seen := observer.New(zapcore.InfoLevel)
	u := newUpkeep(func(context.Context) (registry.Space, error) { return filled(70, 1), nil },
		func(context.Context, registry.Space) (int, bool, error) { return 0, false, nil }, zap.New(logs))
	u.keep = registry.Retention{Completed: time.Hour, Others: -1}
	u.once(t.Context())
	if said := seen.All(); len(said) > 0 {
		t.Errorf("it said %v", said)
	}
}

func TestNodePrunesByItsRetention(t *testing.T) {
	reg, err := registry.Open(t.Context(), etcdtest.Client(t), registry.Options{Namespace: etcdtest.Namespace(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	for _, id := range []string{"a", "b"} {
		if _, err := reg.Start(t.Context(), registry.Spec{ID: id, Kind: "k", Disposition: registry.Rerunnable}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := reg.Cancel(t.Context(), "a", registry.Request{}); err != nil {
		t.Fatal(err)
	}
	look := func(keep registry.Retention) error {
		n, err := New(Config{Registry: reg, Mux: runner.NewMux(), Retention: keep})
		if err != nil {
			t.Fatal(err)
		}
		n.life.upkeep.once(t.Context())
		_, err = reg.Get(t.Context(), "a")
		return err
	}
	if err := look(registry.Retention{}); err != nil {
		t.Errorf("by default it is kept: %v", err)
	}
	if err := look(registry.Retention{Others: 1}); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("kept for a nanosecond: %v, want ErrNotFound", err)
	}
	if _, err := reg.Get(t.Context(), "b"); err != nil {
		t.Errorf("one that has not ended: %v", err)
	}
}
