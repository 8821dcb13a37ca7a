package registry

import (
	"errors"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestStartManyTellsOfEach(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "there")
	start(t, r, "taken", Queue("elsewhere"))
	specs := specsOf("p", "there", "taken", "q")
	specs = append(specs, Spec{ID: "invalid", Kind: "k"}, Spec{Kind: "k", Disposition: Rerunnable})
	got := r.StartMany(t.Context(), specs, StartManyOptions{})
	for i, want := range []struct {
		existing bool
		err      error
	}{{}, {existing: true}, {err: ErrConflict}, {}, {err: ErrInvalid}, {}} {
		if got[i].Existing != want.existing || !errors.Is(got[i].Err, want.err) {
			t.Errorf("%d: %+v, want %+v", i, got[i], want)
		}
	}
	if got[0].ID != "p" || got[5].ID == "" || got[1].Series != 1 {
		t.Errorf("started %+v", got)
	}
	wants(t, r, got[5].ID, StatusPending, 0, 0, 0, 0)
	if n := len(pending(t, r)); n != 4 {
		t.Errorf("%d wait, want 4", n)
	}
}

// A spec that stands there twice is one process.
func TestStartManyTakesARepeatedSpecForOne(t *testing.T) {
	r := newRegistry(t)
	fresh := 0
	for _, got := range r.StartMany(t.Context(), specsOf("p", "p", "p"), StartManyOptions{}) {
		noErr(t, got.Err)
		if !got.Existing {
			fresh++
		}
	}
	if fresh != 1 || len(pending(t, r)) != 1 {
		t.Errorf("%d are new, and there wait %v", fresh, pending(t, r))
	}
}

func TestAllOrNothingIsForABatch(t *testing.T) {
	ids := make([]string, 65) // batches of 30, 30 and 5
	for i := range ids {
		ids[i] = fmt.Sprintf("p%02d", i)
	}
	for name, c := range map[string]struct {
		spoil func(*testing.T, *Registry, []Spec)
		err   error // of the one that spoils its batch, the 31st
	}{
		"nothing is wrong": {func(*testing.T, *Registry, []Spec) {}, nil},
		"one is invalid":   {func(_ *testing.T, _ *Registry, specs []Spec) { specs[30].Kind = "" }, ErrInvalid},
		"one is too large": {func(_ *testing.T, _ *Registry, specs []Spec) {
			specs[30].Input = []byte(`"` + string(make([]byte, 70<<10)) + `"`)
		}, ErrInvalid},
		"an id is taken":           {func(t *testing.T, r *Registry, _ []Spec) { start(t, r, "p30", Queue("elsewhere")) }, ErrConflict},
		"an id stands there twice": {func(_ *testing.T, _ *Registry, specs []Spec) { specs[30].ID = "p40" }, ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			specs := specsOf(ids...)
			c.spoil(t, r, specs)
			got := r.StartMany(t.Context(), specs, StartManyOptions{AllOrNothing: true})
			for i, g := range got {
				_, err := r.Get(t.Context(), ids[i])
				spoiled := c.err != nil && i >= 30 && i < 60
				switch {
				case !spoiled && (g.Err != nil || g.ID != ids[i] || err != nil):
					t.Errorf("%d: %+v, read: %v", i, g, err)
				case spoiled && g.Err == nil:
					t.Errorf("%d: %+v", i, g)
				case spoiled && i == 30 && !errors.Is(g.Err, c.err):
					t.Errorf("the error is %v, want %v", g.Err, c.err)
				case spoiled && i != 30 && !errors.Is(g.Err, ErrBatch) && name != "an id stands there twice":
					t.Errorf("%d: %v", i, g.Err)
				case spoiled && i != 30 && !errors.Is(err, ErrNotFound):
					t.Errorf("%d is there: %v", i, err)
				}
			}
		})
	}
}

// A batch that is asked for again is there already.
func TestAllOrNothingAskedForAgain(t *testing.T) {
	r := newRegistry(t)
	specs := specsOf("p", "q", "r")
	for _, existing := range []bool{false, true} {
		for _, got := range r.StartMany(t.Context(), specs, StartManyOptions{AllOrNothing: true}) {
			noErr(t, got.Err)
			if got.Existing != existing || got.Series != 1 {
				t.Errorf("%+v", got)
			}
		}
	}
}

func TestStartIfNeedsItsConditions(t *testing.T) {
	r := newRegistry(t)
	s := Spec{ID: "p", Kind: "k", Disposition: Rerunnable}
	key := mine(r, "key")
	is := func(value string) []clientv3.Cmp {
		return []clientv3.Cmp{clientv3.Compare(clientv3.Value(key), "=", value)}
	}
	_, err := r.StartIf(t.Context(), s, is("x"), put(mine(r, "also"), "1"))
	wantErr(t, err, ErrCondition)
	_, err = r.Get(t.Context(), "p")
	wantErr(t, err, ErrNotFound)
	write(t, r, key, "x")
	got, err := r.StartIf(t.Context(), s, is("x"), put(mine(r, "also"), "2"))
	noErr(t, err)
	if got.Existing {
		t.Error("it is said to have been there before")
	}
	wantOnce(t, r, mine(r, "also"), "2")
	// It is there: nothing is written, whatever the conditions.
	for _, value := range []string{"x", "y"} {
		got, err = r.StartIf(t.Context(), s, is(value), put(mine(r, "also"), "3"))
		noErr(t, err)
		if !got.Existing {
			t.Error("it is said to be new")
		}
	}
	wantOnce(t, r, mine(r, "also"), "2")
	s.Queue = "elsewhere"
	_, err = r.StartIf(t.Context(), s, is("y"), put(mine(r, "also"), "3"))
	wantErr(t, err, ErrConflict)
}

// Order goes by the clocks of starters. Whether something may be claimed does
// not.
func TestAStarterWhoseClockIsWrongDelaysNothing(t *testing.T) {
	r := newRegistry(t)
	for name, off := range map[string]time.Duration{"fast": time.Hour, "slow": -time.Hour} {
		starter := newRegistry(t)
		starter.keys, starter.table = r.keys, r.table
		starter.options.Now = func() time.Time { return time.Now().Add(off) }
		start(t, starter, name)
		wants(t, r, name, StatusPending, 0, 0, 0, 0)
		if c := claim(t, r, join(t, r, "n"), name); c.Attempt != 1 {
			t.Errorf("the claim is %+v", c)
		}
	}
}
