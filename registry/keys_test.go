package registry

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Keys are what other tools see: their form is a promise.
func TestKeysAreAsDocumented(t *testing.T) {
	k := newKeys("shop")
	e := Entry{ID: "a/b%", Queue: "q", Kind: "k", Priority: 2, Seq: 7}
	for got, want := range map[string]string{
		k.process("a/b%"):     "/shop/v1/process/a%2Fb%25",
		k.claim("01", "a/b%"): "/shop/v1/claim/01/a%2Fb%25",
		k.pending(e):          "/shop/v1/pending/q/k/2/00000000000000000007/a%2Fb%25",
		k.timer(time.Unix(1, 5), "a/b%", "start"): "/shop/v1/timer/00000000001000000005/a%2Fb%25/start",
		k.done(Failed, time.Unix(1, 5), "n"):      "/shop/v1/done/failed/00000000001000000005/n",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestKeysAreReadBackAsWritten(t *testing.T) {
	k := newKeys("n")
	rapid.Check(t, func(rt *rapid.T) {
		id := rapid.StringMatching(`[a/%2Ff5ü ]{1,12}`).Draw(rt, "id")
		e := Entry{ID: id, Queue: "q", Kind: "k", Priority: rapid.IntRange(0, 3).Draw(rt, "priority"), Seq: rapid.Int64Min(1).Draw(rt, "seq")}
		if got, ok := k.parsePending(k.pending(e)); !ok || got != e {
			rt.Fatalf("%+v became %+v", e, got)
		}
		due := time.Unix(0, rapid.Int64Min(0).Draw(rt, "due"))
		if d, i, what, ok := k.parseTimer(k.timer(due, id, "retry")); !ok || !d.Equal(due) || i != id || what != "retry" {
			rt.Fatalf("%s %s became %s %s %s", due, id, d, i, what)
		}
		if last(k.process(id)) != id || strings.Count(k.process(id), "/") != 4 {
			rt.Fatalf("%s is at %s", id, k.process(id))
		}
	})
}

func TestSequenceGrowsWhateverTheClockDoes(t *testing.T) {
	var s sequence
	before := int64(0)
	for _, ns := range []int64{100, 100, 50, 0, 101, 500} {
		got := s.next(time.Unix(0, ns))
		if got <= before {
			t.Fatalf("%d after %d", got, before)
		}
		before = got
	}
	if before != 500 {
		t.Errorf("the last is %d, want the clock's 500", before)
	}
}
