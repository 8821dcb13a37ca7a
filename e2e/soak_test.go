package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
)

var (
	soakFor  = flag.Duration("soak", 0, "how long the soak mixes faults; 0: it is skipped")
	soakSeed = flag.Uint64("seed", 0, "the seed of the soak's first round, as an earlier one printed it; 0: a new one")
)

const (
	soakNamespace = "soak"
	soakTTL       = 2 * time.Second // the smallest that etcd grants
	roundLasts    = 25 * time.Second
	callers       = 6
	hotIDs        = 20 // of a round, which all clients fight over
)

// TestSoak mixes all faults while clients start, cancel, retry and wait, and holds what happened against the promises,
// after each round. The rounds of a seed have the same faults in the same order; what they meet is a matter of time.
func TestSoak(t *testing.T) {
	if *soakFor == 0 {
		t.Skip("-soak says how long: go test ./e2e -run Soak -soak 30m -timeout 0")
	}
	needsShell(t)
	seed := *soakSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	s := newSoak(t)
	for end, round := time.Now().Add(*soakFor), 0; time.Now().Before(end) && !t.Failed(); round++ {
		s.round(seed+uint64(round), min(roundLasts, max(time.Until(end), 5*time.Second)))
	}
}

type soak struct {
	*herd
	journal    *journal
	registries []*registry.Registry
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	c := newCluster(t, clusterOptions{})
	s := &soak{journal: newJournal(t), herd: &herd{
		t: t, cluster: c, etcd: c.client(), root: "/" + soakNamespace + "/v1/", meant: map[*node]bool{},
	}}
	s.trace = follow(t, c.client(), soakNamespace)
	for i := range 3 {
		s.nodes = append(s.nodes, c.serve("serve"+itoa(i+1), "-n", soakNamespace, "--ttl", soakTTL.String(),
			"--allow", "exec", "--shutdown-timeout", "1s", "--max-running", "16"))
	}
	for i := range 2 {
		s.nodes = append(s.nodes, c.embed("go"+itoa(i+1), s.journal, soakNamespace, soakTTL))
	}
	for _, m := range c.members {
		s.clients = append(s.clients, newProxy(t, "tcp", "127.0.0.1:0", m.config.Client))
	}
	for range 2 {
		r, err := registry.Open(t.Context(), dial(t, proxied(s.clients)), registry.Options{
			Namespace: soakNamespace, RequestTimeout: time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() }) // nothing is under way any more
		s.registries = append(s.registries, r)
	}
	return s
}

// round is faults for a while, then peace, in which all comes to its end, then the verdict.
func (s *soak) round(seed uint64, lasts time.Duration) {
	s.t.Helper()
	plan := schedules(lasts).Example(int(seed))
	s.t.Logf("-seed %d: %d faults in %s", seed, len(plan), lasts)
	h := newHistory()
	ctx, stop := context.WithCancel(s.t.Context())
	var group sync.WaitGroup
	var asked atomic.Int64
	for n := range callers {
		c := caller{number: n, registry: s.registries[n%len(s.registries)], history: h}
		w := &workload{caller: c, seed: seed, dice: rand.New(rand.NewPCG(seed, uint64(n))), journal: s.journal, asked: &asked}
		group.Go(func() { w.run(ctx) })
	}
	s.inject(plan)
	s.heal()
	stop()
	group.Wait()
	s.settle(h)
	s.judge(h)
	if s.t.Failed() {
		var text strings.Builder
		for _, f := range plan {
			fmt.Fprintln(&text, f)
		}
		s.t.Logf("what was done in the round of -seed %d:\n%s", seed, text.String())
	}
}

// settle waits until every process has ended. What nobody goes on with, a client ends: what is done outside, and orphans
// of which there is no proof that their node is dead.
func (s *soak) settle(h *history) {
	s.t.Helper()
	last := caller{number: callers, registry: s.registries[0], history: h}
	ctx, cancel := context.WithTimeout(s.t.Context(), 90*time.Second)
	defer cancel()
	for {
		s.trace.upToDate(s.t)
		var open []string
		s.trace.with(func(v *verifier) { open = v.settled() })
		if len(open) == 0 {
			return
		}
		if ctx.Err() != nil {
			s.t.Fatalf("in peace, not ended after 90 s:\n%s", strings.Join(open, "\n"))
		}
		for _, id := range open[:min(len(open), 20)] {
			id, _, _ = strings.Cut(id, " ")
			switch p := last.get(ctx, id); p.Status { //nolint:exhaustive // the others come to their end
			case registry.StatusOrphaned:
				last.abandon(ctx, id)
			case registry.StatusParked:
				last.endExternal(ctx, id)
			}
		}
		<-time.After(100 * time.Millisecond)
	}
}

// judge holds what happened against what is promised.
func (s *soak) judge(h *history) {
	s.t.Helper()
	s.mu.Lock()
	excuses := slices.Clone(s.excuses)
	s.mu.Unlock()
	journal := s.journal.read(s.t)
	attempts, outcomes := 0, map[string]int{}
	s.trace.with(func(v *verifier) {
		v.explain(journal, excuses)
		for id := range h.started {
			if l := v.lives[id]; l == nil || l.row == nil {
				v.problemf("%s: its start was acknowledged, and there is none", id)
			}
		}
		for _, op := range h.operations {
			q, r := op.Input.(question), op.Output.(reply)
			if r.Word == "ok" && r.Outcome != "" && q.What != "end" && !slices.Contains(v.lives[q.ID].ends, endSeen{r.Series, r.Outcome}) {
				v.problemf("%s: a client was told that series %d is %s, it ended as %+v", q.ID, r.Series, r.Outcome, v.lives[q.ID].ends)
			}
		}
		for _, l := range v.lives {
			attempts += len(l.claims)
			for _, e := range l.ends {
				outcomes[e.outcome]++
			}
		}
		for _, problem := range slices.Compact(v.problems) {
			s.t.Error(problem)
		}
		v.problems = nil
	})
	s.trace.mu.Lock()
	if s.trace.err != nil {
		s.t.Error(s.trace.err)
	}
	s.trace.mu.Unlock()
	linearizable(s.t, h.operations)
	s.t.Logf("%d operations, %d without an answer; so far %d claims, %d lines in the journal, ends %v",
		len(h.operations), h.unknown, attempts, len(journal), outcomes)
}

// workload is one client, which does this and that.
type workload struct {
	caller
	seed    uint64
	dice    *rand.Rand
	journal *journal
	asked   *atomic.Int64
	mine    []string
}

func (w *workload) run(ctx context.Context) {
	for ctx.Err() == nil {
		w.turn(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(w.dice.IntN(120)) * time.Millisecond):
		}
	}
}

// turn asks one thing, with a time limit that faults often pass.
func (w *workload) turn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2500*time.Millisecond)
	defer cancel()
	n := w.dice.IntN(100)
	if len(w.mine) == 0 || n < 30 {
		id := fmt.Sprintf("p%d-%d-%d", w.seed, w.number, len(w.mine))
		w.mine = append(w.mine, id)
		w.start(ctx, w.spec(id, w.dice.IntN(100)))
		return
	}
	id := w.mine[w.dice.IntN(len(w.mine))]
	if w.dice.IntN(3) == 0 {
		id = fmt.Sprintf("p%d-hot-%d", w.seed, w.dice.IntN(hotIDs))
	}
	switch {
	case n < 50 && strings.Contains(id, "hot"):
		w.start(ctx, w.spec(id, 40)) // the same for all, but for how long it lasts, now and then
	case n < 65:
		w.get(ctx, id)
	case n < 80:
		w.wait(ctx, id)
	case n < 88:
		w.cancel(ctx, id)
	case n < 95:
		w.retry(ctx, id)
	case n < 97:
		w.abandon(ctx, id)
	default:
		w.endExternal(ctx, id)
	}
}

// spec is of one of the sorts of work that there are.
func (w *workload) spec(id string, sort int) registry.Spec {
	lasts := []string{"0", "0.05", "0.3", "1", "4", "7"}[w.dice.IntN(6)]
	if strings.Contains(id, "hot") {
		lasts = []string{"0.3", "0.3", "0.3", "0.31"}[w.dice.IntN(4)]
	}
	fails := w.dice.IntN(8) - 5 // mostly none
	if strings.Contains(id, "hot") {
		fails = 0
	}
	s := registry.Spec{ID: id, Kind: kindGo, Disposition: registry.Rerunnable, MaxAttempts: 3, MaxAdoptions: registry.NeverQuarantined}
	s = s.With(registry.ConstantBackoff(200 * time.Millisecond))
	input := any(map[string]any{"lasts": lasts + "s", "fails": fails})
	switch {
	case sort < 35:
	case sort < 65:
		s.Kind, input = "exec", map[string]any{"argv": []string{w.journal.script(), w.journal.dir, lasts, itoa(fails)}}
	case sort < 75:
		s.Kind, s.Disposition = "exec", registry.OwnerBound
		input = map[string]any{"argv": []string{w.journal.script(), w.journal.dir, lasts, itoa(fails)}}
	case sort < 90:
		s.Disposition = registry.OwnerBound
	default:
		s.Disposition, s.Kind = registry.External, "outside"
	}
	if s.Disposition == registry.Rerunnable && sort%10 == 0 && !strings.Contains(id, "hot") {
		s.MaxAdoptions = 0 // three nodes that die under it
		s.Deadline = registry.Duration(8 * time.Second)
	}
	var err error
	if s.Input, err = json.Marshal(input); err != nil {
		panic(err) // strings and numbers
	}
	return s
}
