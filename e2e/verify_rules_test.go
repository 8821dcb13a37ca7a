package e2e

import (
	"strings"
	"testing"
	"time"
)

// told is one revision as a verifier is shown it: "key", "key = value" or "key gone", of namespace n.
func told(v *verifier, revision int64, lines ...string) {
	var changes []keyChange
	for _, line := range lines {
		key, gone := strings.CutSuffix(line, " gone")
		key, value, _ := strings.Cut(key, " = ")
		c := keyChange{key: "/n/v1/" + key, gone: gone, value: []byte(value)}
		if strings.HasPrefix(key, "session/") && !strings.HasSuffix(value, "detached") {
			c.lease = 7
		}
		changes = append(changes, c)
	}
	v.apply(revision, changes)
}

const (
	pendingA = "pending/default/k/1/00000000000000000001/a"
	specOf   = `"spec":{"kind":"k","disposition":"`
)

func rowOf(fields string) string { return `process/a = {"id":"a","series":1,` + fields + `}` }

// lived is a process that is claimed in revision 5 by session s.
func lived(disposition string) *verifier {
	v := newVerifier("n")
	told(v, 2, `session/s = {"node":"n1"}`, `session/u = {"node":"n2"}`)
	told(v, 3, rowOf(`"attempt":0,`+specOf+disposition+`"}`), pendingA)
	told(v, 5, pendingA+" gone", "claim/s/a")
	return v
}

func TestVerifierFindsWhatIsWrong(t *testing.T) {
	const (
		rerunnable = specOf + `rerunnable"}`
		completed  = `"attempt":1,"outcome":"completed","fence":5,"history":[{"attempt":1,"node":"n1","fence":5}],` + rerunnable
		lost       = `"attempt":1,"fence":5,"history":[{"attempt":1,"node":"n1","fence":5,"error":"session lost"}],` + rerunnable
	)
	second := strings.Replace(completed, `"fence":5}]`, `"fence":5,"error":"x"},{"attempt":2,"node":"n2","fence":5}]`, 1)
	for name, c := range map[string]struct {
		want string // "": nothing
		goOn func(*verifier)
	}{
		"an end": {"", func(v *verifier) { told(v, 6, rowOf(completed), "claim/s/a gone") }},
		"a takeover": {"", func(v *verifier) {
			told(v, 6, "session/s gone")
			told(v, 7, rowOf(lost), "claim/s/a gone", "claim/u/a")
		}},
		"an end of a pending one": {"it ended under fence 5, its last claim has 6", func(v *verifier) {
			told(v, 6, "claim/s/a gone", "claim/u/a")
			told(v, 7, rowOf(completed), "claim/u/a gone")
		}},
		"a stale end":           {"the claim 5 was ended when its session was over", func(v *verifier) { told(v, 6, "session/s gone"); told(v, 7, rowOf(completed), "claim/s/a gone") }},
		"a theft":               {"it was claimed while the session lives", func(v *verifier) { told(v, 7, rowOf(lost), "claim/s/a gone", "claim/u/a") }},
		"two places":            {"it is in 2 places", func(v *verifier) { told(v, 6, pendingA) }},
		"two claims":            {"it is in 2 places", func(v *verifier) { told(v, 6, "claim/u/a") }},
		"no place":              {"it is in 0 places", func(v *verifier) { told(v, 6, "claim/s/a gone") }},
		"a place after the end": {"it is in 1 places, want 0", func(v *verifier) { told(v, 6, rowOf(completed)) }},
		"a lost row":            {"its row is gone", func(v *verifier) { told(v, 6, "process/a gone", "claim/s/a gone") }},
		"a forgotten request":   {"it waits although a request stands", func(v *verifier) { told(v, 6, "request/a"); told(v, 7, "claim/s/a gone", pendingA) }},
		"a claim despite it": {"it was claimed although a request stands", func(v *verifier) {
			told(v, 6, "request/a", "session/s gone")
			told(v, 7, rowOf(lost), "claim/s/a gone", "claim/u/a")
		}},
		"a claim of a dead one": {"under a session that is over", func(v *verifier) {
			told(v, 6, "session/s gone", "session/u gone")
			told(v, 7, rowOf(lost), "claim/s/a gone", "claim/u/a")
		}},
		"a claim of a detached": {"under a session that is over", func(v *verifier) {
			told(v, 6, "session/s gone", "session/u = detached")
			told(v, 7, rowOf(lost), "claim/s/a gone", "claim/u/a")
		}},
		"two outcomes": {"series 1 ended as completed, and then series 1", func(v *verifier) {
			told(v, 6, rowOf(completed), "claim/s/a gone")
			told(v, 7, rowOf(strings.Replace(completed, "completed", "failed", 1)))
		}},
		"a fence that goes back": {"its history goes from attempt 1 under 5 to 2 under 5", func(v *verifier) { told(v, 6, rowOf(second), "claim/s/a gone") }},
		"a counter that goes back": {"from attempt 1 and fence 5 to attempt 0", func(v *verifier) {
			told(v, 6, rowOf(completed), "claim/s/a gone")
			told(v, 7, rowOf(`"attempt":0,`+rerunnable))
		}},
	} {
		v := lived("rerunnable")
		c.goOn(v)
		if got := strings.Join(v.problems, "\n"); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: found %q, want %q", name, got, c.want)
		}
	}

	// Owner-bound work that is run again.
	v := lived("owner-bound")
	owned := strings.ReplaceAll(lost, "rerunnable", "owner-bound")
	told(v, 6, "session/s gone")
	told(v, 7, rowOf(owned), "claim/s/a gone", "claim/u/a")
	told(v, 8, rowOf(strings.Replace(strings.Replace(owned, `"attempt":1,"fence":5`, `"attempt":2,"fence":7`, 1), "}]", `},{"attempt":2,"node":"n2","fence":7,"error":"x"}]`, 1)), "claim/u/a gone", pendingA)
	if got := strings.Join(v.problems, "\n"); !strings.Contains(got, "it is owner-bound, and attempt 2 is the second of series 1") {
		t.Errorf("owner-bound work that is run again: found %q", got)
	}
}

func TestVerifierHoldsTheJournalAgainstTheRows(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	begin := entry{What: "begin", ID: "a", Attempt: 1, Fence: 5, Node: "n1", How: "go", At: at}
	with := func(change func(*entry)) entry { e := begin; change(&e); return e }
	end := with(func(e *entry) { e.What, e.How = "end", "done" })
	overlap := with(func(e *entry) { e.What, e.Node, e.Fence, e.At = "overlap", "n2", 7, at.Add(time.Minute) })
	freeze := []excuse{{node: "n1", from: at.Add(time.Second)}}
	byHand := []excuse{{node: "n1", from: at.Add(time.Minute - time.Second), to: at.Add(time.Minute), byHand: true}}
	for name, c := range map[string]struct {
		want    string
		journal []entry
		excuses []excuse
	}{
		"a completed one":          {"", []entry{begin, end}, nil},
		"no end":                   {"the journal knows nothing of that", []entry{begin}, nil},
		"no begin":                 {"the journal knows nothing of that", nil, nil},
		"twice":                    {"two attempts under the fence 5", []entry{begin, begin, end}, nil},
		"a fence that nobody has":  {"which no claim has", []entry{begin, end, with(func(e *entry) { e.Fence = 6 })}, nil},
		"another node":             {"the attempt says 1 on n2", []entry{with(func(e *entry) { e.Node = "n2" }), end}, nil},
		"another attempt":          {"the attempt says 2 on n1", []entry{begin, end, with(func(e *entry) { e.Attempt = 2 })}, nil},
		"another process":          {"there is no such process", []entry{begin, end, with(func(e *entry) { e.ID = "b" })}, nil},
		"an overlap":               {"attempt 1 on n2 began", []entry{begin, overlap, end}, nil},
		"an overlap with a frozen": {"", []entry{begin, overlap, end}, freeze},
		"of a command": {"attempt 1 on n2 began",
			[]entry{with(func(e *entry) { e.How = "exec" }), overlap, end}, freeze},
		"an overlap by hand": {"", []entry{with(func(e *entry) { e.How = "exec" }), overlap, end}, byHand},
		"long after it": {"attempt 1 on n2 began",
			[]entry{begin, with(func(e *entry) { e.What, e.Node, e.At = "overlap", "n2", at.Add(time.Hour) }), end}, byHand},
	} {
		v := lived("rerunnable")
		told(v, 6, rowOf(`"attempt":1,"outcome":"completed","fence":5,"history":[{"attempt":1,"node":"n1","fence":5}],`+specOf+`rerunnable"}`), "claim/s/a gone")
		v.explain(c.journal, c.excuses)
		if got := strings.Join(v.problems, "\n"); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: found %q, want %q", name, got, c.want)
		}
	}
}
