package supervisor

import (
	"context"
	"errors"
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

func TestPruningLooksAboutOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var looks []time.Duration
		p := newPruning(func(context.Context) (int, error) {
			looks = append(looks, time.Since(begun))
			switch len(looks) {
			case 2:
				panic("a fault")
			case 3:
				return 0, errors.New("etcd is away")
			}
			return 1, nil
		}, zap.NewNop())
		p.start()
		time.Sleep(time.Hour)
		if err := p.stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(looks); n < 50 || n > 75 || looks[0] > time.Minute {
			t.Errorf("it looked %d times in an hour, at first after %s", n, looks[0])
		}
		even := 0
		for i := range len(looks) - 1 {
			pause := looks[i+1] - looks[i]
			if pause < 48*time.Second || pause > 72*time.Second {
				t.Errorf("a pause of %s, want 48s to 72s", pause)
			}
			if i > 0 && pause == looks[i]-looks[i-1] {
				even++
			}
		}
		if even > 5 {
			t.Errorf("%d pauses are as long as the one before", even)
		}
	})
}

func TestPruningStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPruning(func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }, zap.NewNop())
		if err := p.stop(t.Context()); err != nil {
			t.Errorf("stop before start: %v", err)
		}
		p.start()
		time.Sleep(time.Minute) // it is on
		if err := p.stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestPruningReportsAnErrorOnce(t *testing.T) {
	logs, seen := observer.New(zapcore.WarnLevel)
	var err error
	p := newPruning(func(context.Context) (int, error) { return 0, err }, zap.New(logs))
	for _, err = range []error{errors.New("a"), errors.New("a"), nil, errors.New("a"), errors.New("b")} {
		p.once(t.Context())
	}
	if n := seen.Len(); n != 3 {
		t.Errorf("logged %d times, want 3", n)
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
		n.life.pruning.once(t.Context())
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
