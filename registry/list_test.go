package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// everywhere starts one process for each status and returns them by status.
func everywhere(t *testing.T, r *Registry) map[Status]string {
	t.Helper()
	a, b := join(t, r, "a"), join(t, r, "b")
	for _, id := range []string{"pending", "running", "orphaned", "completed", "failed", "cancelled"} {
		start(t, r, id, input(`1`))
	}
	start(t, r, "scheduled", At(time.Now().Add(time.Hour)))
	claim(t, r, a, "running")
	claim(t, r, b, "orphaned")
	noErr(t, r.Complete(t.Context(), claim(t, r, a, "completed"), []byte(`2`)))
	noErr(t, r.Fail(t.Context(), claim(t, r, a, "failed"), "boom", "", nil))
	_, err := r.Cancel(t.Context(), "cancelled", Request{})
	noErr(t, err)
	leave(t, b)
	by := map[Status]string{}
	for _, s := range []Status{
		StatusPending, StatusRunning, StatusOrphaned, StatusCompleted, StatusFailed, StatusCancelled, StatusScheduled,
	} {
		by[s] = string(s)
	}
	return by
}

func TestGetAndListTellTheSameStatus(t *testing.T) {
	r := newRegistry(t)
	for status, id := range everywhere(t, r) {
		if p := lookAt(t, r, id); p.Status != status || !status.Valid() {
			t.Errorf("get: %s is %s", id, p.Status)
		}
		page, err := r.List(t.Context(), Filter{Statuses: []Status{status}})
		noErr(t, err)
		if len(page.Processes) != 1 || page.Processes[0].ID != id || page.More {
			t.Errorf("list of %s: %+v", status, page.Processes)
		}
	}
	page, err := r.List(t.Context(), Filter{})
	noErr(t, err)
	var ids []string
	for _, p := range page.Processes {
		ids = append(ids, p.ID)
		if string(p.Status) != p.ID {
			t.Errorf("%s is listed as %s", p.ID, p.Status)
		}
		if p.Input != nil || p.Output != nil || p.History != nil {
			t.Errorf("%s comes with more than asked for", p.ID)
		}
	}
	if want := "cancelled completed failed orphaned pending running scheduled"; strings.Join(ids, " ") != want {
		t.Errorf("listed %v, want %s", ids, want)
	}
}

func TestListFilters(t *testing.T) {
	r := newRegistry(t)
	everywhere(t, r)
	start(t, r, "elsewhere", Queue("other"))
	start(t, r, "another", func(s *Spec) { s.Kind = "other" })
	for _, c := range []struct {
		filter Filter
		want   string
	}{
		{Filter{Queue: "other"}, "elsewhere"},
		{Filter{Kind: "other"}, "another"},
		{Filter{Kind: "other", Queue: "other"}, ""},
		{Filter{Kind: "other", Statuses: []Status{StatusPending}}, "another"},
		{Filter{After: "orphaned", Queue: "default", Kind: "k"}, "pending running scheduled"},
		{Filter{Statuses: []Status{StatusFailed, StatusRunning}}, "failed running"},
	} {
		page, err := r.List(t.Context(), c.filter)
		noErr(t, err)
		var ids []string
		for _, p := range page.Processes {
			ids = append(ids, p.ID)
		}
		if strings.Join(ids, " ") != c.want {
			t.Errorf("%+v lists %v, want %s", c.filter, ids, c.want)
		}
	}
	page, err := r.List(t.Context(), Filter{Full: true, Statuses: []Status{StatusCompleted}})
	noErr(t, err)
	if p := page.Processes[0]; string(p.Input) != "1" || string(p.Output) != "2" || len(p.History) != 1 {
		t.Errorf("in full: %+v", p)
	}
}

func TestListPagesMeetWithoutGapOrOverlap(t *testing.T) {
	r := newRegistry(t)
	var want []string
	for i := range 450 { // more than two chunks of what one request reads
		id := fmt.Sprintf("p/%03d", i)
		start(t, r, id, Queue([]string{"even", "odd"}[i%2]))
		if i%2 == 1 {
			want = append(want, id)
		}
	}
	for _, limit := range []int{1000, 225, 100, 7} {
		var got []string
		f := Filter{Queue: "odd", Limit: limit}
		for {
			page, err := r.List(t.Context(), f)
			noErr(t, err)
			for _, p := range page.Processes {
				got = append(got, p.ID)
			}
			if page.More != (page.Next != "") || len(page.Processes) > limit {
				t.Fatalf("more %v, next %q, %d of %d", page.More, page.Next, len(page.Processes), limit)
			}
			if !page.More {
				break
			}
			f.After = page.Next
		}
		if !slices.Equal(got, want) {
			t.Errorf("in pages of %d: %d of %d, %v", limit, len(got), len(want), got)
		}
	}
}

func TestCorruptRowsHarmNobodyElse(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "good")
	start(t, r, "template")
	there, v, err := readRow(t, r, "template")
	noErr(t, err)
	value := string(v[r.keys.process("template")].Value)
	bad := map[string]string{
		"garbage":  `{`,
		"empty":    ``,
		"another":  value,
		"newer":    strings.Replace(strings.Replace(value, `"schema":1`, `"schema":2`, 1), `"template"`, `"newer"`, 1),
		"no spec":  fmt.Sprintf(`{"schema":1,"id":"no spec","series":1,"seq":%d,"created_at":"2026-01-01T00:00:00Z"}`, there.Seq),
		"priority": strings.Replace(strings.Replace(value, `"priority":1`, `"priority":9`, 1), `"template"`, `"priority"`, 1),
	}
	for id, value := range bad {
		write(t, r, r.keys.process(id), value)
	}
	page, err := r.List(t.Context(), Filter{})
	noErr(t, err)
	if len(page.Processes) != 2 || page.Processes[0].ID != "good" || len(page.Corrupt) != len(bad) {
		t.Errorf("listed %+v, corrupt %v", page.Processes, page.Corrupt)
	}
	var corrupt *CorruptError
	for id := range bad {
		_, err := r.Get(t.Context(), id)
		if !errors.As(err, &corrupt) || corrupt.Key != r.keys.process(id) {
			t.Errorf("get %s: %v", id, err)
		}
		if _, err := r.Cancel(t.Context(), id, Request{}); !errors.As(err, &corrupt) {
			t.Errorf("cancel %s: %v", id, err)
		}
		if _, err := r.Start(t.Context(), Spec{ID: id, Kind: "k", Disposition: Rerunnable}); !errors.As(err, &corrupt) {
			t.Errorf("start %s: %v", id, err)
		}
	}
}

func TestAClaimOnACorruptRowIsGivenBack(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, r *Registry){
		"garbage": func(t *testing.T, r *Registry) { write(t, r, r.keys.process("p"), "{") },
		"gone": func(t *testing.T, r *Registry) {
			_, err := r.client.Delete(t.Context(), r.keys.process("p"))
			noErr(t, err)
		},
		"without its input": func(t *testing.T, r *Registry) {
			_, err := r.client.Delete(t.Context(), r.keys.input("p"))
			noErr(t, err)
		},
		"with another input": func(t *testing.T, r *Registry) { write(t, r, r.keys.input("p"), `"short"`) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			start(t, r, "p", input(`"`+strings.Repeat("x", 5000)+`"`))
			s := join(t, r, "n")
			damage(t, r)
			_, err := r.Claim(t.Context(), s, entryOf(t, r, "p"))
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) {
				t.Errorf("the claim: %v", err)
			}
			entryOf(t, r, "p")
			if left := keysUnder(t, r, "claim/"); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestGetOfNothing(t *testing.T) {
	_, err := newRegistry(t).Get(t.Context(), "p")
	wantErr(t, err, ErrNotFound)
}

func TestNamespacesAndIDsKeepApart(t *testing.T) {
	r, other := newRegistry(t), newRegistry(t)
	start(t, r, "a")
	start(t, r, "a/b")
	start(t, other, "a", input(`1`))
	_, err := r.Cancel(t.Context(), "a", Request{})
	noErr(t, err)
	wants(t, r, "a/b", StatusPending, 0, 0, 0, 0)
	wants(t, other, "a", StatusPending, 0, 0, 0, 0)
}
