package e2e

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// register is one process as its clients see it: it is absent, open, or ended. It ends by itself, at some time between
// two answers; the first answer that tells of the end tells how.
type register struct {
	Spec    string // "": there is none
	Series  int
	Cancel  bool   // it was asked to end in this series
	Abandon bool   // so it was, as abandoned
	Outcome string // "": open, as far as was told; someOutcome: it ended, nobody said how
}

// someOutcome is an end that was told without its outcome.
const someOutcome = "some"

// processModel is the sequential specification. Histories are held against it for each process by itself.
var processModel = porcupine.Model{
	Partition: func(all []porcupine.Operation) (parts [][]porcupine.Operation) {
		byID := map[string][]porcupine.Operation{}
		for _, op := range all {
			id := op.Input.(question).ID
			byID[id] = append(byID[id], op)
		}
		for _, part := range byID {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return register{} },
	Step: func(state, input, output any) (bool, any) {
		return state.(register).step(input.(question), output.(reply))
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
}

func (r register) step(q question, a reply) (bool, register) {
	if a.Word == "unknown" {
		return true, r.maybe(q)
	}
	if a.Word == "not found" {
		return r.Spec == "" && q.What != "start", r
	}
	if q.What == "start" {
		return r.start(q, a)
	}
	if r.Spec == "" {
		return false, r // it is told of what does not exist
	}
	switch {
	case q.What == "get" || q.What == "wait":
		return r.observe(q, a)
	case q.What == "retry" && a.Word == "ok":
		// An end that nobody told of came before.
		return a.Series == r.Series+1, register{Spec: r.Spec, Series: r.Series + 1}
	case a.Word == "ended":
		r.Outcome = cmp.Or(r.Outcome, someOutcome)
		return q.What != "retry", r
	case a.Word == "not ended":
		return q.What == "retry" && r.Outcome == "", r
	case a.Word == "state":
		return r.Outcome == "", r
	case a.Word == "ok":
		return r.Outcome == "", r.asked(q)
	}
	return false, r
}

// start is told that the process is there, now or before, or that another one is.
func (r register) start(q question, a reply) (bool, register) {
	switch {
	case a.Word == "conflict":
		return r.Spec != "" && r.Spec != q.Spec, r
	case a.Word != "ok":
		return false, r
	case r.Spec == "":
		return a.Series == 1, register{Spec: q.Spec, Series: 1}
	}
	return r.Spec == q.Spec && a.Series == r.Series, r
}

// observe holds what was read against what is known, and learns how it ended.
func (r register) observe(q question, a reply) (bool, register) {
	if a.Word != "ok" || a.Series != r.Series || q.What == "wait" && a.Outcome == "" {
		return false, r
	}
	if a.Outcome == "" {
		return r.Outcome == "", r
	}
	if r.Outcome != "" && r.Outcome != someOutcome {
		return a.Outcome == r.Outcome, r
	}
	if a.Outcome == "cancelled" && !r.Cancel {
		return false, r // nobody asked
	}
	r.Outcome = a.Outcome
	return true, r
}

// asked is the state after a request, which is recorded and may have ended it at once.
func (r register) asked(q question) register {
	switch q.What {
	case "cancel":
		r.Cancel = true
	case "abandon":
		r.Abandon = true
	case "end":
		r.Outcome = "completed"
	}
	return r
}

// maybe is what an unanswered call does if it takes effect. If it does not, it comes after all others.
func (r register) maybe(q question) register {
	switch {
	case q.What == "start":
		if r.Spec == "" {
			return register{Spec: q.Spec, Series: 1}
		}
	case r.Spec == "":
	case q.What == "retry":
		return register{Spec: r.Spec, Series: r.Series + 1}
	case r.Outcome == "":
		return r.asked(q)
	}
	return r
}

// linearizable fails for each process whose history no order of its operations explains.
func linearizable(t *testing.T, operations []porcupine.Operation) {
	t.Helper()
	for _, part := range processModel.Partition(operations) {
		if porcupine.CheckOperationsTimeout(processModel, part, 20*time.Second) != porcupine.Illegal {
			continue
		}
		slices.SortFunc(part, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
		text := ""
		for _, op := range part {
			text += fmt.Sprintf("\n\tclient %d, %9.3f s to %9.3f s: %+v: %+v", op.ClientId,
				time.Duration(op.Call).Seconds(), time.Duration(op.Return).Seconds(), op.Input, op.Output)
		}
		t.Errorf("no order of these explains the answers:%s", text)
	}
}

func TestModelTellsHistoriesApart(t *testing.T) {
	const s = "spec"
	op := func(call, back int64, what string, r reply) porcupine.Operation {
		q := question{What: what, ID: "a"}
		if what == "start" {
			q.Spec = s
		}
		return porcupine.Operation{Input: q, Call: call, Output: r, Return: back}
	}
	ok := reply{Word: "ok"}
	open := func(series int) reply { return reply{Word: "ok", Series: series} }
	end := func(series int, outcome string) reply { return reply{Word: "ok", Series: series, Outcome: outcome} }
	for name, c := range map[string]struct {
		legal bool
		ops   []porcupine.Operation
	}{
		"it ends by itself":                {true, []porcupine.Operation{op(1, 2, "start", open(1)), op(3, 4, "get", open(1)), op(5, 6, "get", end(1, "completed"))}},
		"lost after its acknowledgement":   {false, []porcupine.Operation{op(1, 2, "start", open(1)), op(3, 4, "get", reply{Word: "not found"})}},
		"there before it was started":      {false, []porcupine.Operation{op(1, 2, "get", open(1)), op(3, 4, "start", open(1))}},
		"there while it was being started": {true, []porcupine.Operation{op(1, 4, "get", open(1)), op(3, 5, "start", open(1))}},
		"an unanswered start that shows":   {true, []porcupine.Operation{op(1, never, "start", reply{Word: "unknown"}), op(3, 4, "get", reply{Word: "not found"}), op(5, 6, "get", open(1))}},
		"an unanswered start that does not": {true, []porcupine.Operation{
			op(1, never, "start", reply{Word: "unknown"}), op(3, 4, "get", reply{Word: "not found"}),
		}},
		"two outcomes":                {false, []porcupine.Operation{op(1, 2, "start", open(1)), op(3, 4, "get", end(1, "failed")), op(5, 6, "get", end(1, "completed"))}},
		"open after its end":          {false, []porcupine.Operation{op(1, 2, "start", open(1)), op(3, 4, "wait", end(1, "failed")), op(5, 6, "get", open(1))}},
		"open again after a retry":    {true, []porcupine.Operation{op(1, 2, "start", open(1)), op(3, 4, "wait", end(1, "failed")), op(4, 5, "retry", open(2)), op(6, 7, "get", open(2))}},
		"cancelled by nobody":         {false, []porcupine.Operation{op(1, 2, "start", open(1)), op(3, 4, "get", end(1, "cancelled"))}},
		"cancelled":                   {true, []porcupine.Operation{op(1, 2, "start", open(1)), op(3, 4, "cancel", ok), op(5, 6, "get", end(1, "cancelled"))}},
		"cancelled before the retry":  {false, []porcupine.Operation{op(1, 2, "start", open(1)), op(3, 4, "cancel", ok), op(5, 6, "retry", open(2)), op(7, 8, "get", end(2, "cancelled"))}},
		"a cancel of what had ended":  {false, []porcupine.Operation{op(1, 2, "start", open(1)), op(3, 4, "wait", end(1, "failed")), op(5, 6, "cancel", ok)}},
		"refused, and open after":     {false, []porcupine.Operation{op(1, 2, "start", open(1)), op(3, 4, "cancel", reply{Word: "ended"}), op(5, 6, "get", open(1))}},
		"a conflict with itself":      {false, []porcupine.Operation{op(1, 2, "start", open(1)), op(3, 4, "start", reply{Word: "conflict"})}},
		"ended outside, and told so":  {true, []porcupine.Operation{op(1, 2, "start", open(1)), op(3, 4, "end", ok), op(5, 6, "get", end(1, "completed"))}},
		"ended outside, and open":     {false, []porcupine.Operation{op(1, 2, "start", open(1)), op(3, 4, "end", ok), op(5, 6, "get", open(1))}},
		"a series that nobody opened": {false, []porcupine.Operation{op(1, 2, "start", open(1)), op(3, 4, "get", open(2))}},
	} {
		if got := porcupine.CheckOperations(processModel, c.ops); got != c.legal {
			t.Errorf("%s: legal is %v, want %v", name, got, c.legal)
		}
	}
}
