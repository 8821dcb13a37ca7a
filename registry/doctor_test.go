package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
)

// check returns the findings, each as its key and what it is, in order.
func check(t *testing.T, r *Registry, repair bool) []string {
	t.Helper()
	var lines []string
	report, err := r.Check(t.Context(), CheckOptions{Repair: repair}, func(f Finding) error {
		line := strings.TrimPrefix(f.Key, r.keys.root) + ": " + f.What
		switch {
		case f.Repaired:
			line += " (repaired)"
		case !f.Repairable && f.Advice == "":
			t.Errorf("%s: neither a repair nor advice", line)
		case !f.Repairable:
			line += " (by hand)"
		}
		lines = append(lines, line)
		return nil
	})
	noErr(t, err)
	if report.Findings != len(lines) || report.Keys != len(keysUnder(t, r, "")) && !repair {
		t.Errorf("%d findings, the report is %+v", len(lines), report)
	}
	return lines
}

func erase(t *testing.T, r *Registry, key string) {
	t.Helper()
	_, err := r.client.Delete(t.Context(), key, clientv3.WithPrefix())
	noErr(t, err)
}

// everyKind fills a registry with processes in every state that they can be in.
func everyKind(t *testing.T, r *Registry) {
	t.Helper()
	everywhere(t, r)
	s := join(t, r, "c")
	large := `"` + strings.Repeat("x", 5000) + `"`
	deadline := func(s *Spec) { s.Deadline = Duration(time.Hour) }
	start(t, r, "a/large%one", input(large), deadline)
	start(t, r, "written", input(large))
	c := claim(t, r, s, "written")
	noErr(t, r.Progress(t.Context(), c, []byte(`1`)))
	noErr(t, r.Checkpoint(t.Context(), c, "one", []byte(`1`)))
	_, err := r.Cancel(t.Context(), "written", Request{})
	noErr(t, err)
	start(t, r, "large output")
	noErr(t, r.Complete(t.Context(), claim(t, r, s, "large output"), []byte(large)))
	start(t, r, "retried", deadline)
	noErr(t, r.Retry(t.Context(), claim(t, r, s, "retried"), time.Now().Add(time.Hour), "boom"))
	start(t, r, "retried again")
	noErr(t, r.Retry(t.Context(), claim(t, r, s, "retried again"), time.Now().Add(time.Nanosecond), "boom"))
	cancelled(t, r, "reopened", deadline)
	_, err = r.Reopen(t.Context(), "reopened")
	noErr(t, err)
	_, err = r.Start(t.Context(), Spec{ID: "outside", Kind: "k", Disposition: External, Deadline: Duration(time.Hour)})
	noErr(t, err)
	_, err = r.Cancel(t.Context(), "outside", Request{})
	noErr(t, err)
	start(t, r, "handed off")
	noErr(t, r.HandOff(t.Context(), claim(t, r, s, "handed off"), Reference{Value: []byte(`1`)}))
	noErr(t, r.Pause(t.Context(), "paused", "me"))
	noErr(t, r.Poke(t.Context(), "a"))
}

func TestCheckFindsNothingWhereNothingIsWrong(t *testing.T) {
	r := newRegistry(t)
	everyKind(t, r)
	before := keysUnder(t, r, "")
	for _, repair := range []bool{false, true} {
		if found := check(t, r, repair); len(found) > 0 {
			t.Errorf("found:\n%s", strings.Join(found, "\n"))
		}
	}
	if after := keysUnder(t, r, ""); !slices.Equal(before, after) {
		t.Errorf("the keys were %v and are %v", before, after)
	}
}

// damage is done to a registry that has the process p of the kind k, held by
// the session of n if claimed.
type damage struct {
	spec    Spec
	claimed bool
	ended   bool
	do      func(t *testing.T, r *Registry, s *Session)
	found   []string // after a repair
	// then is where the process is afterwards; "" is nowhere.
	then Status
}

func damages() map[string]damage {
	hour := time.Now().Add(time.Hour)
	later := Spec{DueAt: hour}
	large := []byte(`"` + strings.Repeat("x", 5000) + `"`)
	place := func(r *Registry) string { return r.keys.root + "pending/default/k/1/" }
	return map[string]damage{
		"a foreign key": {do: func(t *testing.T, r *Registry, _ *Session) {
			write(t, r, r.keys.root+"unheard/of", "1")
		}, found: []string{"unheard/of: a key of no form that drover knows (by hand)"}, then: StatusPending},
		"a key of another form": {do: func(t *testing.T, r *Registry, _ *Session) {
			write(t, r, place(r)+"x/p", "1")
		}, found: []string{"pending/default/k/1/x/p: a key of no form that drover knows (by hand)"}, then: StatusPending},
		"an id of another form": {do: func(t *testing.T, r *Registry, _ *Session) {
			write(t, r, r.keys.root+"process/a/b", "{}")
		}, found: []string{"process/a/b: a key of no form that drover knows (by hand)"}, then: StatusPending},
		"garbage": {do: func(t *testing.T, r *Registry, _ *Session) {
			write(t, r, r.keys.process("p"), `{"schema":1,`)
		}, found: []string{"process/p: a row that can't be read: unexpected EOF (by hand)"}},
		"another id": {do: func(t *testing.T, r *Registry, _ *Session) {
			row := lookAtRow(t, r, "p")
			write(t, r, r.keys.process("q"), row)
		}, found: []string{`process/q: a row that can't be read: it says that it is the process "p" (by hand)`}, then: StatusPending},
		"a newer schema": {do: func(t *testing.T, r *Registry, _ *Session) {
			write(t, r, r.keys.process("p"), strings.Replace(lookAtRow(t, r, "p"), `"schema":1`, `"schema":9`, 1))
		}, found: []string{"process/p: a row that can't be read: its schema is 9, this drover knows 1: a newer one wrote it (by hand)"}},
		"an unknown field": {do: func(t *testing.T, r *Registry, _ *Session) {
			write(t, r, r.keys.process("p"), strings.Replace(lookAtRow(t, r, "p"), `"kind":"k"`, `"kind":"k","later":1`, 1))
		}, found: []string{`process/p: a row that can't be read: spec: json: unknown field "later" (by hand)`}},
		"no place": {do: func(t *testing.T, r *Registry, _ *Session) {
			erase(t, r, place(r))
		}, found: []string{"process/p: a process without a place (repaired)"}, then: StatusPending},
		"no timer": {spec: later, do: func(t *testing.T, r *Registry, _ *Session) {
			erase(t, r, r.keys.timers())
		}, found: []string{"process/p: a process without a place (repaired)"}, then: StatusScheduled},
		"no timer, owner-bound": {spec: Spec{DueAt: hour, Disposition: OwnerBound}, do: func(t *testing.T, r *Registry, _ *Session) {
			erase(t, r, r.keys.timers())
		}, found: []string{"process/p: a process without a place (repaired)"}, then: StatusScheduled},
		"no place, owner-bound": {spec: Spec{Disposition: OwnerBound}, do: func(t *testing.T, r *Registry, _ *Session) {
			erase(t, r, place(r))
		}, found: []string{"process/p: a process without a place, which may have been started (by hand)"}, then: StatusPending},
		"no place, owner-bound and to be abandoned": {spec: Spec{Disposition: OwnerBound}, do: func(t *testing.T, r *Registry, _ *Session) {
			erase(t, r, place(r))
			_, err := r.Abandon(t.Context(), "p", Request{})
			noErr(t, err)
		}, found: []string{"request/p: a request that nobody would answer, as nobody holds the process (repaired)"}, then: StatusAbandoned},
		"not parked": {spec: Spec{Disposition: External}, do: func(t *testing.T, r *Registry, _ *Session) {
			erase(t, r, r.keys.parked(""))
		}, found: []string{"process/p: a process without a place (repaired)"}, then: StatusParked},
		"no claim": {claimed: true, do: func(t *testing.T, r *Registry, s *Session) {
			erase(t, r, r.keys.claims(s.ID()))
		}, found: []string{"process/p: a process without a place (repaired)"}, then: StatusPending},
		"no claim, but a request": {claimed: true, do: func(t *testing.T, r *Registry, s *Session) {
			_, err := r.Cancel(t.Context(), "p", Request{})
			noErr(t, err)
			erase(t, r, r.keys.claims(s.ID()))
		}, found: []string{"request/p: a request that nobody would answer, as nobody holds the process (repaired)"}, then: StatusCancelled},
		"a request beside a place": {do: func(t *testing.T, r *Registry, _ *Session) {
			write(t, r, r.keys.request("p"), `{"reason":"enough"}`)
		}, found: []string{"request/p: a request that nobody would answer, as nobody holds the process (repaired)"}, then: StatusCancelled},
		"claimed and pending": {claimed: true, do: func(t *testing.T, r *Registry, _ *Session) {
			there, _, err := readRow(t, r, "p")
			noErr(t, err)
			write(t, r, r.keys.pending(there.entry()), "{}")
		}, found: []string{"pending/default/k/1/SEQ/p: a place of a process that is also claimed (repaired)"}, then: StatusRunning},
		"claimed and elsewhere": {claimed: true, do: func(t *testing.T, r *Registry, _ *Session) {
			write(t, r, place(r)+ordinal(7)+"/p", "{}")
		}, found: []string{"pending/default/k/1/00000000000000000007/p: a place of a process that is also claimed (repaired)"}, then: StatusRunning},
		"pending and scheduled": {spec: later, do: func(t *testing.T, r *Registry, _ *Session) {
			there, _, err := readRow(t, r, "p")
			noErr(t, err)
			write(t, r, r.keys.pending(there.entry()), "{}")
		}, found: []string{"pending/default/k/1/SEQ/p: one of two places of a process (repaired)"}, then: StatusScheduled},
		"two pending": {do: func(t *testing.T, r *Registry, _ *Session) {
			write(t, r, place(r)+ordinal(7)+"/p", "{}")
		}, found: []string{
			"pending/default/k/1/00000000000000000007/p: a place that does not follow from the row, beside one that does (repaired)",
		}, then: StatusPending},
		"another queue": {spec: Spec{Disposition: OwnerBound}, do: func(t *testing.T, r *Registry, _ *Session) {
			erase(t, r, place(r))
			write(t, r, r.keys.pending(Entry{ID: "p", Queue: "other", Kind: "k", Priority: 1, Seq: 7}), "{}")
		}, found: []string{"pending/other/k/1/00000000000000000007/p: a place that does not follow from the row (repaired)"}, then: StatusPending},
		"a timer with another place": {spec: later, do: func(t *testing.T, r *Registry, _ *Session) {
			there, _, err := readRow(t, r, "p")
			noErr(t, err)
			write(t, r, r.keys.timer(there.Due, "p", dueStart), "elsewhere")
		}, found: []string{"timer/DUE/p/start: a place that does not follow from the row (repaired)"}, then: StatusScheduled},
		"a row that is gone": {spec: Spec{Input: large, Deadline: Duration(time.Hour)}, do: func(t *testing.T, r *Registry, _ *Session) {
			for _, key := range []string{r.keys.output("p"), r.keys.progress("p"), r.keys.step("p", "one"), r.keys.step("p", "two"), r.keys.request("p")} {
				write(t, r, key, "{}")
			}
			erase(t, r, r.keys.process("p"))
		}, found: []string{
			"input/p: what stands under input/ without a row (repaired)",
			"output/p: what stands under output/ without a row (repaired)",
			"pending/default/k/1/SEQ/p: what stands under pending/ without a row (repaired)",
			"progress/p: what stands under progress/ without a row (repaired)",
			"request/p: what stands under request/ without a row (repaired)",
			"step/p/one: steps without a row (repaired)",
			"timer/DUE/p/deadline: what stands under timer/ without a row (repaired)",
		}},
		"a row that is gone under its holder": {claimed: true, do: func(t *testing.T, r *Registry, _ *Session) {
			erase(t, r, r.keys.process("p"))
		}, found: []string{"claim/SID/p: a claim without a row, whose holder lives (by hand)"}},
		"a row that is gone under a dead holder": {claimed: true, do: func(t *testing.T, r *Registry, s *Session) {
			erase(t, r, r.keys.process("p"))
			leave(t, s)
		}, found: []string{"claim/SID/p: what stands under claim/ without a row (repaired)"}},
		"leftovers of an end": {ended: true, spec: Spec{Deadline: Duration(time.Hour)}, do: func(t *testing.T, r *Registry, s *Session) {
			there, _, err := readRow(t, r, "p")
			noErr(t, err)
			for _, key := range []string{
				r.keys.claim(s.ID(), "p"), r.keys.pending(there.entry()), r.keys.parked("p"), r.keys.progress("p"),
				r.keys.request("p"), r.keys.step("p", "one"), r.keys.deadline(there), r.keys.output("p"),
			} {
				write(t, r, key, "{}")
			}
		}, found: []string{
			"claim/SID/p: what stands under claim/ of a process that has ended (repaired)",
			"output/p: an output that is not the row's (repaired)",
			"parked/p: what stands under parked/ of a process that has ended (repaired)",
			"pending/default/k/1/SEQ/p: what stands under pending/ of a process that has ended (repaired)",
			"progress/p: what stands under progress/ of a process that has ended (repaired)",
			"request/p: what stands under request/ of a process that has ended (repaired)",
			"step/p/one: steps of a process that has ended (repaired)",
			"timer/DUE/p/deadline: what stands under timer/ of a process that has ended (repaired)",
		}, then: StatusCancelled},
		"no hint": {ended: true, do: func(t *testing.T, r *Registry, _ *Session) {
			erase(t, r, r.keys.root+"done/")
		}, found: []string{"process/p: a process that has ended without a hint, so it would never be pruned (repaired)"}, then: StatusCancelled},
		"no deadline": {spec: Spec{Deadline: Duration(time.Hour)}, do: func(t *testing.T, r *Registry, _ *Session) {
			erase(t, r, r.keys.timers())
		}, found: []string{"process/p: a deadline without its timer (repaired)"}, then: StatusPending},
		"another deadline": {do: func(t *testing.T, r *Registry, _ *Session) {
			write(t, r, r.keys.timer(hour, "p", dueDeadline), "x")
		}, found: []string{"timer/DUE/p/deadline: a deadline that is not the row's (repaired)"}, then: StatusPending},
		"no input": {spec: Spec{Input: large}, do: func(t *testing.T, r *Registry, _ *Session) {
			erase(t, r, r.keys.input("p"))
		}, found: []string{"process/p: a row whose input is gone (by hand)"}},
		"an input of nothing": {do: func(t *testing.T, r *Registry, _ *Session) {
			write(t, r, r.keys.input("p"), "1")
		}, found: []string{"input/p: an input that is not the row's (repaired)"}, then: StatusPending},
		"two claims": {claimed: true, do: func(t *testing.T, r *Registry, s *Session) {
			write(t, r, r.keys.claim(join(t, r, "m").ID(), "p"), lookAtKey(t, r, r.keys.claim(s.ID(), "p")))
		}, found: []string{
			"claim/SID/p: one of several claims on a process (by hand)", "claim/SID/p: one of several claims on a process (by hand)",
		}, then: StatusRunning},
		"a claim of nobody": {claimed: true, do: func(t *testing.T, r *Registry, s *Session) {
			erase(t, r, r.keys.node(s.ID()))
			leave(t, s)
		}, found: []string{
			"claim/SID/p: a claim of a session that is not in the roster, so nobody would take it over (repaired)",
		}, then: StatusOrphaned},
		"a claim that can't be read": {claimed: true, do: func(t *testing.T, r *Registry, s *Session) {
			write(t, r, r.keys.claim(s.ID(), "p"), "garbage")
		}, found: []string{"claim/SID/p: a claim that can't be read, so nobody could take it over (by hand)"}, then: StatusRunning},
		"a session on no lease": {claimed: true, do: func(t *testing.T, r *Registry, s *Session) {
			write(t, r, r.keys.session(s.ID()), lookAtKey(t, r, r.keys.session(s.ID())))
		}, found: []string{"session/SID: a session on no lease: it would never end, nor what it holds be taken over (repaired)"}, then: StatusOrphaned},
		"a session that is not in the roster": {do: func(t *testing.T, r *Registry, s *Session) {
			erase(t, r, r.keys.node(s.ID()))
		}, found: []string{"session/SID: a session that is not in the roster: what it leaves behind would not be found (repaired)"}, then: StatusPending},
		"a node that can't be read": {do: func(t *testing.T, r *Registry, s *Session) {
			write(t, r, r.keys.node(s.ID()), "garbage")
		}, found: []string{"node/SID: a node of the roster that can't be read, so nobody can prove its death (by hand)"}, then: StatusPending},
		"a queue that can't be read": {do: func(t *testing.T, r *Registry, _ *Session) {
			write(t, r, r.keys.queue("q"), "garbage")
		}, found: []string{"queue/q: the state of a queue that can't be read, so nobody claims from it (by hand)"}, then: StatusPending},
		"a hint that can't be read": {do: func(t *testing.T, r *Registry, _ *Session) {
			write(t, r, r.keys.ended(Failed)+"1/x", "garbage")
		}, found: []string{"done/failed/1/x: a hint of ended processes that can't be read (by hand)"}, then: StatusPending},
		"a hint without a row": {do: func(t *testing.T, r *Registry, _ *Session) {
			write(t, r, r.keys.ended(Failed)+"1/x", `{"ended":[{"id":"gone","series":1}]}`)
		}, then: StatusPending},
	}
}

func lookAtKey(t *testing.T, r *Registry, key string) string {
	t.Helper()
	resp, err := r.client.Get(t.Context(), key)
	noErr(t, err)
	return string(resp.Kvs[0].Value)
}

func lookAtRow(t *testing.T, r *Registry, id string) string {
	return lookAtKey(t, r, r.keys.process(id))
}

// set makes a registry with the process p and does the damage.
func (d damage) set(t *testing.T) (*Registry, *strings.Replacer) {
	t.Helper()
	r := newRegistry(t)
	s := join(t, r, "n")
	d.spec.ID, d.spec.Kind = "p", "k"
	if d.spec.Disposition == "" {
		d.spec.Disposition = Rerunnable
	}
	_, err := r.Start(t.Context(), d.spec)
	noErr(t, err)
	there, _, err := readRow(t, r, "p")
	noErr(t, err)
	if d.claimed {
		claim(t, r, s, "p")
	}
	if d.ended {
		_, err := r.Cancel(t.Context(), "p", Request{})
		noErr(t, err)
	}
	d.do(t, r, s)
	names := []string{s.ID(), "SID", ordinal(there.Seq), "SEQ", ordinal(there.Due.UnixNano()), "DUE", ordinal(there.DeadlineAt.UnixNano()), "DUE"}
	for _, key := range keysUnder(t, r, "session/") {
		names = append(names, last(key), "SID")
	}
	for _, key := range keysUnder(t, r, "timer/") {
		names = append(names, strings.Split(key, "/")[1], "DUE")
	}
	return r, strings.NewReplacer(names...)
}

func TestCheckFindsAndRepairsWhatNeedsNoGuess(t *testing.T) {
	for name, d := range damages() {
		t.Run(name, func(t *testing.T) {
			r, short := d.set(t)
			var dry []string
			for _, line := range d.found {
				dry = append(dry, strings.TrimSuffix(line, " (repaired)"))
			}
			before := keysUnder(t, r, "")
			found := check(t, r, false)
			for i := range found {
				found[i] = short.Replace(found[i])
			}
			slices.Sort(found)
			if !slices.Equal(found, dry) {
				t.Errorf("found:\n%s\nwant:\n%s", strings.Join(found, "\n"), strings.Join(dry, "\n"))
			}
			if after := keysUnder(t, r, ""); !slices.Equal(before, after) {
				t.Errorf("a check without repair changed %v to %v", before, after)
			}
			found = check(t, r, true)
			for i := range found {
				found[i] = short.Replace(found[i])
			}
			slices.Sort(found)
			if !slices.Equal(found, d.found) {
				t.Errorf("repaired:\n%s\nwant:\n%s", strings.Join(found, "\n"), strings.Join(d.found, "\n"))
			}
			if p, err := r.Get(t.Context(), "p"); err == nil && p.Status != d.then || err != nil && d.then != "" {
				t.Errorf("it is %s afterwards, %v; want %s", p.Status, err, d.then)
			}
			for _, line := range check(t, r, true) {
				if !strings.HasSuffix(line, "(by hand)") {
					t.Errorf("found once more: %s", line)
				}
			}
		})
	}
}

// A registry that works is not found wrong because things move under the check.
func TestCheckOfARegistryThatWorks(t *testing.T) {
	r := newRegistry(t)
	s := join(t, r, "n")
	var working sync.WaitGroup
	done := make(chan struct{})
	for w := range 4 {
		working.Go(func() {
			for i := range 50 {
				if err := runOne(t, r, s, fmt.Sprintf("%d-%d", w, i), i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	go func() { working.Wait(); close(done) }()
	for checks := 1; ; checks++ {
		if found := check(t, r, true); len(found) > 0 {
			t.Errorf("found:\n%s", strings.Join(found, "\n"))
		}
		select {
		case <-done:
			t.Logf("%d checks", checks)
			return
		default:
		}
	}
}

// runOne takes a process through its life, or a part of it.
func runOne(t *testing.T, r *Registry, s *Session, id string, i int) error {
	ctx := t.Context()
	if _, err := r.Start(ctx, Spec{ID: id, Kind: "k" + id, Disposition: Rerunnable, Deadline: Duration(time.Hour)}); err != nil {
		return err
	}
	entries, _, err := r.Window([]string{"default"}, []string{"k" + id}).List(ctx, 1, nil)
	if err != nil || len(entries) != 1 {
		return fmt.Errorf("%s: %d entries, %w", id, len(entries), err)
	}
	c, err := r.Claim(ctx, s, entries[0])
	if err != nil {
		return err
	}
	c.Enter()
	switch i % 4 {
	case 0:
		return r.Complete(ctx, c, nil)
	case 1:
		return r.Retry(ctx, c, time.Now().Add(time.Hour), "boom")
	case 2:
		if err := r.Checkpoint(ctx, c, "one", nil); err != nil {
			return err
		}
		if err := r.Fail(ctx, c, "boom", "", nil); err != nil {
			return err
		}
		_, err = r.Reopen(ctx, id)
		return err
	default:
		if err := r.Release(ctx, c); err != nil {
			return err
		}
		_, err = r.Cancel(ctx, id, Request{})
		return err
	}
}

func TestCheckEndsAsItsListenerSays(t *testing.T) {
	r := newRegistry(t)
	write(t, r, r.keys.root+"a", "1")
	write(t, r, r.keys.root+"zzz", "1")
	enough := errors.New("enough")
	report, err := r.Check(t.Context(), CheckOptions{}, func(Finding) error { return enough })
	if !errors.Is(err, enough) || report.Findings != 1 {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestCheckOfMoreThanAPage(t *testing.T) {
	r := newRegistry(t)
	specs := make([]Spec, checkPage+20)
	for i := range specs {
		specs[i] = Spec{ID: fmt.Sprint("p", i), Kind: "k", Disposition: Rerunnable}
	}
	for _, res := range r.StartMany(t.Context(), specs, StartManyOptions{}) {
		noErr(t, res.Err)
	}
	join(t, r, "n")
	erase(t, r, r.keys.pending(entryOf(t, r, fmt.Sprint("p", checkPage+10))))
	if found := check(t, r, true); len(found) != 1 {
		t.Errorf("found %v", found)
	}
}

// A repair is of what was read. What moves meanwhile is left alone.
func TestARepairThatIsOvertakenDoesNothing(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	other := registryOn(t, etcdtest.Client(t), Options{Namespace: r.options.Namespace})
	s := join(t, other, "n")
	start(t, other, "p")
	e := entryOf(t, other, "p")
	erase(t, other, other.keys.pending(e))
	wire.nextWrites(func(send func() error) error {
		if found := check(t, other, true); len(found) != 1 {
			t.Errorf("somebody else found %v", found)
		}
		claim(t, other, s, "p")
		return send()
	})
	if found := check(t, r, true); len(found) > 0 || wire.left() != 0 {
		t.Errorf("found %v", found)
	}
	wants(t, r, "p", StatusRunning, 1, 0, 0, 0)
	if left := keysUnder(t, r, "pending/"); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}
