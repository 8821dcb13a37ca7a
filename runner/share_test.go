package runner

import (
	"fmt"
	"math"
	"testing"
	"time"
)

func herdOf(weights ...int) (all []candidate) {
	for i, w := range weights {
		all = append(all, newCandidate(fmt.Sprintf("%016x", 7_000_000+i), w))
	}
	return all
}

func TestWaitFor(t *testing.T) {
	const ms = time.Millisecond
	for _, tc := range []struct {
		rank   int
		common bool
		want   time.Duration
	}{
		{0, false, 0}, {1, false, 200 * ms}, {2, false, 225 * ms}, {8, false, 375 * ms}, {100, false, 375 * ms},
		{0, true, 0}, {1, true, 15 * ms}, {2, true, 30 * ms}, {100, true, 120 * ms},
	} {
		if got := waitFor(tc.rank, tc.common); got != tc.want {
			t.Errorf("rank %d, common %t: %s, want %s", tc.rank, tc.common, got, tc.want)
		}
	}
}

// Every node comes to the same, whatever the order in which it knows the
// others: for each process there is one of each rank.
func TestRanksAreAPermutation(t *testing.T) {
	among := herdOf(1, 64, 64, 1000)
	reversed := []candidate{among[3], among[2], among[1], among[0]}
	for i := range 200 {
		id, seen := fmt.Sprint("p", i), map[int]bool{}
		for _, c := range among {
			n := rank(among, c.sid, id)
			if seen[n] || n < 0 || n > 3 || rank(reversed, c.sid, id) != n {
				t.Fatalf("%s: rank %d, before %v", id, n, seen)
			}
			seen[n] = true
		}
	}
}

func TestWhoIsAloneIsFirst(t *testing.T) {
	alone := herdOf(5)
	if n := rank(alone, alone[0].sid, "p"); n != 0 {
		t.Errorf("rank %d", n)
	}
	if n := rank(nil, "nobody", "p"); n != 0 {
		t.Errorf("of none: rank %d", n)
	}
	if n := rank(alone, "a stranger", "p"); n != 1 {
		t.Errorf("a stranger has rank %d, want 1: what it can't run is not its to put back", n)
	}
	if n := rank(herdOf(1, 1), "a stranger", "p"); n != 2 {
		t.Errorf("a stranger has rank %d, want 2, after all", n)
	}
}

// Each gets its share by weight, within five standard deviations.
func TestSharesFollowTheWeights(t *testing.T) {
	const count = 20_000
	among := herdOf(10, 20, 70, 0) // 0 counts as 1
	for i, weight := range []float64{10, 20, 70, 1} {
		p := weight / 101
		got := 0
		for n := range count {
			if rank(among, among[i].sid, fmt.Sprint("resize/", n)) == 0 {
				got++
			}
		}
		if want, most := p*count, 5*math.Sqrt(count*p*(1-p)); math.Abs(float64(got)-want) > most {
			t.Errorf("weight %v: %d of %d, want %.0f±%.0f", weight, got, count, want, most)
		}
	}
}

// When one goes, what is others' stays theirs.
func TestOnlyTheShareOfOneThatGoesMoves(t *testing.T) {
	all := herdOf(8, 8, 8, 8)
	rest := all[:3]
	moved := 0
	for n := range 1000 {
		id := fmt.Sprint("p", n)
		if rank(all, all[3].sid, id) == 0 {
			moved++
			continue
		}
		for _, c := range rest {
			if (rank(all, c.sid, id) == 0) != (rank(rest, c.sid, id) == 0) {
				t.Fatalf("%s changed hands", id)
			}
		}
	}
	if moved < 150 || moved > 350 {
		t.Errorf("%d of 1000 were its own, want about 250", moved)
	}
}
