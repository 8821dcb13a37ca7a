package registry

import (
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
	"end orphan without MOD of claim": "while a request stands nothing but its answer takes the claim " +
		"away, and the answer takes the request away too, which is compared",
	"end orphan without MOD of request": "the same the other way round, as long as nothing changes a request that stands",
	"request without CREATE of timer":   "whatever puts a timer writes the row, which is compared; pending is put without",
}

// TestEveryConditionIsNeeded takes away each condition of each transition in
// turn. The exploration must find what goes wrong then; where it finds
// nothing, the condition is redundant, or the exploration is blind.
func TestEveryConditionIsNeeded(t *testing.T) {
	t.Parallel()
	conditions := map[string]bool{}
	for _, w := range worlds() {
		if len(w.ids) > 1 {
			continue
		}
		w.calls = 1
		w.spoil = func(c *call) {
			for i := range c.when {
				conditions[nameOf(c, i)] = true
			}
		}
		if _, v := newExplorer(w).explore(); v != nil {
			t.Fatal(v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(conditions)) {
		t.Run(name, func(t *testing.T) {
			reason, expected := redundant[name]
			states, v := exploreWithout(name, 1)
			if v == nil && !expected {
				var more int
				more, v = exploreWithout(name, 2)
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
		if !conditions[name] {
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

// exploreWithout explores with the condition taken away and so many calls at a
// time at the most; one is enough to see most of what goes wrong.
func exploreWithout(name string, calls int) (int, *violation) {
	total := 0
	for _, w := range worlds() {
		if len(w.ids) > 1 {
			continue // no condition is about two processes
		}
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
