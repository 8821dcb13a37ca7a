package registry

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// redundant are the conditions without which nothing goes wrong, with the
// reason. They stay as a second line of defence, and as they are in the table
// of the design. Everything else must be missed.
var redundant = map[string]string{
	"abandon orphan without CREATE of session": noReturn,
	"testify without CREATE of session":        noReturn,
	"abandon orphan without MOD of request":    "an abandonment answers whatever somebody asked for",

	"claim without CREATE of claim": "no place of drover's stands beside a claim; this is for one that somebody put by hand",

	"request without CREATE of timer":          timersWrite,
	"abandon request without CREATE of timer":  timersWrite,
	"deadline request without CREATE of timer": timersWrite,

	"deadline of waiting without MOD of deadline": "while the place stands as read it is the same series, and late in any case",
	"deadline of waiting without MOD of parked":   "what is parked stays so until it ends, which takes the deadline's timer away, which is compared",
	"deadline request without MOD of deadline": "row and request are compared: until it ends a request stands, " +
		"and then the row is another",
}

const (
	noReturn    = "whoever decides on it has seen that the session is gone, and none comes back under its name"
	timersWrite = "whatever puts a timer writes the row, which is compared; pending is put without"
)

// TestEveryConditionIsNeeded takes away each condition of each transition in
// turn. The exploration must find what goes wrong then; where it finds
// nothing, the condition is redundant, or the exploration is blind.
func TestEveryConditionIsNeeded(t *testing.T) {
	t.Parallel()
	conditions := map[string][]met{}
	for _, w := range worlds() {
		if w.large || len(w.ids) > 1 { // no condition is about two processes
			continue
		}
		names, once := map[string]bool{}, w
		once.calls = 1
		once.spoil = func(c *call) {
			for i := range c.when {
				names[nameOf(c, i)] = true
			}
		}
		states, v := newExplorer(once).explore()
		if v != nil {
			t.Fatal(v)
		}
		for name := range names {
			conditions[name] = append(conditions[name], met{w, states})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(conditions)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reason, expected := redundant[name]
			states, v := exploreWithout(name, conditions[name], 1)
			if v == nil && !expected {
				var more int
				more, v = exploreWithout(name, conditions[name], 2)
				states += more
			}
			switch {
			case v == nil && !expected:
				t.Errorf("%d states and nothing wrong: nobody needs it", states)
			case v != nil && expected:
				t.Errorf("said to be redundant (%s), but: %v", reason, v)
			case v != nil:
				t.Logf("found in %d states: %s", states, v.what)
			}
		})
	}
	for name := range redundant {
		if conditions[name] == nil {
			t.Errorf("there is no condition %q", name)
		}
	}
}

// nameOf names a condition by its transition, its target and the kind of its
// key.
func nameOf(c *call, i int) string {
	p := c.when[i].GetCompare()
	k := newKeys("x")
	what := string(p.Key[len(k.root):])
	what, _, _ = strings.Cut(what, "/")
	if strings.HasSuffix(string(p.Key), "/"+dueDeadline) {
		return fmt.Sprintf("%s without %s of deadline", c.kind, p.Target)
	}
	n := 0
	for _, earlier := range c.when[:i] {
		e := earlier.GetCompare()
		if e.Target == p.Target && strings.HasPrefix(string(e.Key), k.root+what) {
			n++
		}
	}
	if n > 0 {
		what += fmt.Sprint(" ", n+1)
	}
	return fmt.Sprintf("%s without %s of %s", c.kind, p.Target, what)
}

// met is a world where a condition is met, and how large it is.
type met struct {
	world
	states int
}

// exploreWithout explores with the condition taken away and so many calls at a
// time at the most, small worlds first; one call is enough to see most of what
// goes wrong.
func exploreWithout(name string, in []met, calls int) (int, *violation) {
	slices.SortStableFunc(in, func(a, b met) int { return cmp.Compare(a.states, b.states) })
	total := 0
	for _, m := range in {
		w := m.world
		w.calls = min(w.calls, calls)
		w.spoil = func(c *call) {
			var kept []clientv3.Cmp
			for i := range c.when {
				if nameOf(c, i) != name {
					kept = append(kept, c.when[i])
				}
			}
			c.when = kept
		}
		states, v := newExplorer(w).explore()
		total += states
		if v != nil {
			return total, v
		}
	}
	return total, nil
}
