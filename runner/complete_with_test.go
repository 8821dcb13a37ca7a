package runner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// holds says what stands under a key of the user's own, "" if nothing.
func holds(t *testing.T, key string) string {
	t.Helper()
	resp, err := etcdtest.Client(t).Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Count == 0 {
		return ""
	}
	return string(resp.Kvs[0].Value)
}

func TestWhatGoesWithCompletionHappensIfAndOnlyIfItCompletes(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(ctx context.Context, b *bench) (any, error)
		want registry.Status
	}{
		"completes": {func(context.Context, *bench) (any, error) { return 1, nil }, registry.StatusCompleted},
		"completes in spite of a request": {func(ctx context.Context, b *bench) (any, error) {
			_, err := b.registry.Cancel(ctx, "x", registry.Request{By: "me"})
			return nil, err
		}, registry.StatusCompleted},
		"fails":            {func(context.Context, *bench) (any, error) { return nil, runner.Fail(errBroken) }, registry.StatusFailed},
		"fails too often":  {func(context.Context, *bench) (any, error) { return nil, errBroken }, registry.StatusFailed},
		"panics":           {func(context.Context, *bench) (any, error) { panic("boom") }, registry.StatusFailed},
		"cancels":          {func(context.Context, *bench) (any, error) { return nil, runner.Cancel(nil) }, registry.StatusCancelled},
		"snoozes":          {func(context.Context, *bench) (any, error) { return nil, runner.Snooze(time.Hour) }, registry.StatusScheduled},
		"hands off":        {func(context.Context, *bench) (any, error) { return nil, runner.HandOff(1, "") }, registry.StatusParked},
		"returns too much": {func(context.Context, *bench) (any, error) { return strings.Repeat("x", 64<<10), nil }, registry.StatusFailed},
		"is cancelled": {func(ctx context.Context, b *bench) (any, error) {
			_, err := b.registry.Cancel(ctx, "x", registry.Request{By: "me"})
			return nil, errors.Join(errBroken, err)
		}, registry.StatusFailed}, // as that was its last error
		"loses its claim": {func(_ context.Context, b *bench) (any, error) { b.die(); return nil, nil }, registry.StatusOrphaned},
	} {
		t.Run(name, func(t *testing.T) {
			var b *bench
			b = newBenchOf(t, registry.Rerunnable, func(ctx context.Context, a *runner.Attempt) (any, error) {
				if err := a.CompleteWith(clientv3.OpPut("/mine/"+a.Session(), "moved")); err != nil {
					t.Error(err)
				}
				return test.end(ctx, b)
			})
			b.start("x", "k", registry.MaxAttempts(1))
			b.runNext(t.Context())
			want := ""
			if test.want == registry.StatusCompleted {
				want = "moved"
			}
			p := b.get("x")
			if got := holds(t, "/mine/"+b.session.ID()); p.Status != test.want || got != want {
				t.Errorf("%s, want %s, and the key holds %q, want %q", p.Status, test.want, got, want)
			}
		})
	}
}

func TestWhatEtcdRefusesFailsTheProcess(t *testing.T) {
	many := make([]clientv3.Op, 200)
	for i := range many {
		many[i] = clientv3.OpPut(fmt.Sprint("/mine/", i), "")
	}
	for name, ops := range map[string][]clientv3.Op{
		"the same key twice": {clientv3.OpPut("/mine/twice", "1"), clientv3.OpDelete("/mine/", clientv3.WithPrefix())},
		"too many":           many,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBenchOf(t, registry.Rerunnable, func(_ context.Context, a *runner.Attempt) (any, error) {
				return nil, a.CompleteWith(ops...)
			})
			b.start("x", "k")
			report := b.runNext(t.Context())
			p := b.get("x")
			if report.Outcome != registry.Failed || p.Errors != 1 || p.OutcomeReason != "etcd refused its end" || b.left() != nil {
				t.Errorf("%+v: %s (%s), and %v are left", report, p.Error, p.OutcomeReason, b.left())
			}
		})
	}
}

// All that goes into one request is at its limit together: etcd refuses it, and
// what it is asked for instead fits.
func TestAnEndThatIsTooLargeForEtcdFailsTheProcess(t *testing.T) {
	b := newBenchOf(t, registry.Rerunnable, func(_ context.Context, a *runner.Attempt) (any, error) {
		return strings.Repeat("x", 512<<10-2), a.CompleteWith(clientv3.OpPut("/mine", strings.Repeat("x", 1<<20-5)))
	})
	reg, err := registry.Open(t.Context(), etcdtest.Client(t), registry.Options{Namespace: b.space, MaxInput: 512 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	b.registry = reg
	b.runner = b.make("default")
	b.start("x", "k")
	report := b.runNext(t.Context())
	if p := b.get("x"); report.Outcome != registry.Failed || p.OutcomeReason != "etcd refused its end" || b.left() != nil {
		t.Errorf("%+v: %s (%s), and %v are left", report, p.Error, p.OutcomeReason, b.left())
	}
}

func TestWritesThatAreTooLargeAreNotAdded(t *testing.T) {
	b := newBenchOf(t, registry.Rerunnable, func(ctx context.Context, a *runner.Attempt) (any, error) {
		half := func(n string) clientv3.Op {
			return clientv3.OpPut("/mine/"+n+a.Session(), strings.Repeat("x", 512<<10))
		}
		var large *registry.TooLargeError
		if err := a.CompleteWith(half("1")); err != nil {
			t.Error(err)
		}
		if err := a.CompleteWith(half("2")); !errors.As(err, &large) || large.Max != 1<<20 {
			t.Errorf("the second: %v, want it to be too large", err)
		}
		if _, err := a.Txn(ctx, nil, half("3"), half("4")); !errors.As(err, &large) {
			t.Errorf("a transaction: %v, want it to be too large", err)
		}
		return nil, nil
	})
	b.start("x", "k")
	b.runNext(t.Context())
	p := b.get("x")
	if first, second := holds(t, "/mine/1"+b.session.ID()), holds(t, "/mine/2"+b.session.ID()); p.Status != registry.StatusCompleted || len(first) != 512<<10 || second != "" {
		t.Errorf("%s, and the keys hold %d and %d bytes", p.Status, len(first), len(second))
	}
}

func TestKeysOfDroversOwnAreRefused(t *testing.T) {
	var b *bench
	b = newBenchOf(t, registry.Rerunnable, func(ctx context.Context, a *runner.Attempt) (any, error) {
		root := "/" + b.space + "/v1/"
		for name, op := range map[string]clientv3.Op{
			"a key":         clientv3.OpPut(root+"process/x", ""),
			"a range":       clientv3.OpDelete("/", clientv3.WithPrefix()),
			"everything":    clientv3.OpDelete("", clientv3.WithFromKey()),
			"a read":        clientv3.OpGet(root + "process/x"),
			"a transaction": clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("/mine", "")}, nil),
		} {
			if err := a.CompleteWith(op); !errors.Is(err, registry.ErrInvalid) {
				t.Errorf("%s with the end: %v, want ErrInvalid", name, err)
			}
			if _, err := a.Txn(ctx, nil, op); !errors.Is(err, registry.ErrInvalid) {
				t.Errorf("%s in a transaction: %v, want ErrInvalid", name, err)
			}
		}
		if _, err := a.Txn(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.Version(root+"process/x"), "=", 0)}); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("a condition: %v, want ErrInvalid", err)
		}
		return "whole", nil
	})
	b.start("x", "k")
	b.runNext(t.Context())
	if p := b.get("x"); p.Status != registry.StatusCompleted || string(p.Output) != `"whole"` {
		t.Errorf("%s with %s", p.Status, p.Output)
	}
}

func TestATransactionOfTheHandlersOwn(t *testing.T) {
	b := newBenchOf(t, registry.Rerunnable, func(ctx context.Context, a *runner.Attempt) (any, error) {
		key := "/mine/" + a.Session()
		isNew := []clientv3.Cmp{clientv3.Compare(clientv3.Version(key), "=", 0)}
		for _, succeeds := range []bool{true, false} {
			resp, err := a.Txn(ctx, isNew, clientv3.OpPut(key, "1"), clientv3.OpGet(key))
			if err != nil || resp.Succeeded != succeeds {
				t.Fatalf("%+v, error %v, want it to succeed: %t", resp, err, succeeds)
			}
			if succeeds && (len(resp.Responses) != 2 || string(resp.Responses[1].GetResponseRange().Kvs[0].Value) != "1") {
				t.Errorf("answered %+v, want the two of the caller's", resp.Responses)
			}
			if !succeeds && len(resp.Responses) != 0 {
				t.Errorf("answered %+v, want nothing", resp.Responses)
			}
		}
		return nil, nil
	})
	b.start("x", "k")
	b.runNext(t.Context())
	if got := holds(t, "/mine/"+b.session.ID()); got != "1" || b.left() != nil {
		t.Errorf("the key holds %q, and %v are left", got, b.left())
	}
}
