package registry

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

func (x *explorer) row(s *evaluator, id string) (row, bool) {
	kv := s.kvs[x.t.k.process(id)]
	if kv == nil {
		return row{}, false
	}
	if r, ok := x.rows[kv]; ok {
		return r, true
	}
	r, err := decodeRow(string(kv.Key), id, kv.Value)
	if err != nil {
		panic(err)
	}
	x.rows[kv] = r
	return r, true
}

// asked is the request that stands, nil if there is none.
func (x *explorer) asked(s *evaluator, id string) *Request {
	kv := s.kvs[x.t.k.request(id)]
	if kv == nil {
		return nil
	}
	return must(decodeRequest(kv))
}

// around is what stands about one process, but for its row.
type around struct {
	waiting  []string // keys
	claims   []string
	parked   bool
	deadline []string // keys
	request  bool
	written  int         // progress and steps
	done     map[int]int // hints, by series
}

func (x *explorer) around(s *evaluator, id string) around {
	a, ok := x.arounds[place{s, id}]
	if !ok {
		a = x.lookAround(s, id)
		x.arounds[place{s, id}] = a
	}
	return a
}

func (x *explorer) lookAround(s *evaluator, id string) around {
	a := around{done: map[int]int{}}
	for key, kv := range s.kvs {
		kind, rest, _ := strings.Cut(strings.TrimPrefix(key, x.t.k.root), "/")
		part := strings.Split(rest, "/")
		switch kind {
		case "pending":
			if last(key) == id {
				a.waiting = append(a.waiting, key)
			}
		case "timer":
			switch {
			case part[1] != id:
			case part[2] == dueDeadline:
				a.deadline = append(a.deadline, key)
			default:
				a.waiting = append(a.waiting, key)
			}
		case "claim":
			if last(key) == id {
				a.claims = append(a.claims, key)
			}
		case "parked":
			a.parked = a.parked || rest == id
		case "request":
			a.request = a.request || rest == id
		case "progress", "step":
			if part[0] == id {
				a.written++
			}
		case "done":
			if e := x.hintOf(kv); e.ID == id {
				a.done[e.Series]++
			}
		}
	}
	return a
}

// hintOf is the end that a hint is of.
func (x *explorer) hintOf(kv *mvccpb.KeyValue) endedSeries {
	e, ok := x.hints[kv]
	if !ok {
		var hint doneValue
		if err := json.Unmarshal(kv.Value, &hint); err != nil {
			panic(err)
		}
		e = hint.Ended[0]
		x.hints[kv] = e
	}
	return e
}

// places is how many there are.
func (a around) places() int {
	n := len(a.waiting) + len(a.claims)
	if a.parked {
		n++
	}
	return n
}

// wrongWith says what must not be in any state.
func (x *explorer) wrongWith(s *evaluator) string {
	for _, id := range x.world.ids {
		there, ok := x.row(s, id)
		a := x.around(s, id)
		what := ""
		switch {
		case !ok && (a.places() > 0 || a.request || len(a.deadline)+a.written > 0 || len(a.done) > 0 && !x.world.pruned):
			what = fmt.Sprintf("%s has no row, but left %+v", id, a)
		case !ok:
		case there.ended():
			what = x.wrongWithEnded(there, a)
		case a.parked && a.request && x.asked(s, id).What != "":
			what = fmt.Sprintf("%s is parked beside a request that nobody answers", id)
		default:
			what = x.wrongWithOpen(there, a)
		}
		for series := 1; what == "" && ok && series <= there.Series; series++ {
			over := series < there.Series || there.ended()
			if n := a.done[series]; x.wrongHints(there, series, over, n) {
				what = fmt.Sprintf("series %d of %s, over: %v, has %d hints of its end", series, id, over, n)
			}
		}
		for _, key := range a.claims {
			sid := strings.Split(key, "/")[4]
			if what == "" && s.kvs[x.t.k.node(sid)] == nil {
				what = fmt.Sprintf("nobody will find the claim %s once it is an orphan", key)
			}
		}
		if what != "" {
			return what
		}
	}
	return ""
}

// wrongHints says whether a series has too many hints of its end, or too few.
// Where somebody prunes, those of earlier series come and go, also after the
// process has: they are of no use to anybody.
func (x *explorer) wrongHints(there row, series int, over bool, n int) bool {
	switch {
	case x.world.pruned:
		return n == 0 && over && series == there.Series
	case over:
		return n != 1
	default:
		return n != 0
	}
}

func (x *explorer) wrongWithEnded(there row, a around) string {
	if a.places() > 0 || a.request || len(a.deadline)+a.written > 0 {
		return fmt.Sprintf("%s has ended and left %+v", there.ID, a)
	}
	return ""
}

func (x *explorer) wrongWithOpen(there row, a around) string {
	switch id := there.ID; {
	case a.places() != 1:
		return fmt.Sprintf("%s has %d places: %+v", id, a.places(), a)
	case a.request && len(a.waiting) > 0:
		return fmt.Sprintf("%s waits beside a request that nobody will ask for", id)
	case len(a.waiting) > 0 && !slices.Contains(x.t.waitingPlaces(there), a.waiting[0]):
		return fmt.Sprintf("%s waits at %s, which does not follow from its row", id, a.waiting[0])
	case a.parked != (there.What == whereParked):
		return fmt.Sprintf("%s is parked: %v, which does not follow from its row", id, a.parked)
	case there.spec.Disposition == External && !a.parked:
		return fmt.Sprintf("%s is external and not parked: %+v", id, a)
	case there.spec.Disposition == OwnerBound && len(a.waiting) > 0 && there.Attempt > x.base[there.Opened]:
		return fmt.Sprintf("%s is owner-bound, was started, and waits to be claimed", id)
	case len(a.deadline) > 0 && (there.DeadlineAt.IsZero() || a.deadline[0] != x.t.k.deadline(there) || len(a.deadline) > 1):
		return fmt.Sprintf("the deadline %s does not follow from the row", a.deadline)
	case len(a.deadline) == 0 && !there.DeadlineAt.IsZero() && !a.request:
		return fmt.Sprintf("nobody will find that the deadline of %s has passed", id)
	case there.spec.MaxAdoptions > 0 && there.Adoptions >= there.spec.MaxAdoptions:
		return fmt.Sprintf("%s lost %d nodes and goes on", id, there.Adoptions)
	}
	return ""
}

// wrongStep says what must not be in a step. c is nil if no call made it.
func (x *explorer) wrongStep(before, after *evaluator, c *call) string {
	if c != nil && c.landed > 1 && !x.mayLandAgain(c) {
		return fmt.Sprintf("it was applied %d times", c.landed)
	}
	if c != nil && c.sid != "" && !x.alive(before, c.sid) {
		return "a write of a session that had ended"
	}
	if c != nil && (c.kind == "start" || c.kind == "reopen") && before.kvs[x.t.k.full()] != nil {
		return "started without room"
	}
	for _, id := range x.world.ids {
		if what := x.wrongWithProcess(before, after, id, c); what != "" {
			return what
		}
	}
	return x.wrongWithSessions(before, after, c)
}

func (x *explorer) wrongWithProcess(before, after *evaluator, id string, c *call) string {
	if what := x.wrongWithRow(before, after, id, c); what != "" {
		return what
	}
	if what := x.wrongWithClaims(before, after, id, c); what != "" {
		return what
	}
	if what := x.wrongWithRequest(before, after, id); what != "" {
		return what
	}
	return x.wrongWithWritten(before, after, id, c)
}

func (x *explorer) wrongWithRow(before, after *evaluator, id string, c *call) string {
	old, had := x.row(before, id)
	now, has := x.row(after, id)
	opened := had && has && old.ended() && now.Series == old.Series+1
	switch {
	case !had:
		return ""
	case !has && x.mayGo(old):
		return ""
	case !has:
		return "the row of " + id + " is lost"
	case old.ended() && !opened && before.kvs[x.t.k.process(id)] != after.kvs[x.t.k.process(id)]:
		return fmt.Sprintf("the outcome of %s was %s and is written again as %s", id, old.Outcome, now.Outcome)
	case !opened && now.Series != old.Series:
		return fmt.Sprintf("%s was in series %d and is in series %d", id, old.Series, now.Series)
	case opened && (now.ended() || now.Errors+now.Adoptions+now.Snoozes > 0 || now.Evidence != nil || now.Output != nil || now.Reference != nil):
		return fmt.Sprintf("series %d of %s begins with what the one before left: %+v", now.Series, id, now)
	case opened && !now.CreatedAt.Equal(old.CreatedAt):
		return "it is forgotten when " + id + " was created"
	case now.Fence < old.Fence:
		return fmt.Sprintf("the fence of %s went back from %d to %d", id, old.Fence, now.Fence)
	case now.Attempt < old.Attempt || len(now.History) < len(old.History):
		return fmt.Sprintf("attempt %d of %s was forgotten", old.Attempt, id)
	case string(now.Spec) != string(old.Spec):
		return "the spec of " + id + " changed"
	case !old.ended() && now.ended():
		return x.wrongOutcome(before, now, c)
	case !opened:
		return x.wrongCount(before, old, now, c)
	}
	return ""
}

// wrongCount: an adoption is that of a node's death, unless the node has come
// back, which it may have done since it was decided that it counts.
func (x *explorer) wrongCount(before *evaluator, old, now row, c *call) string {
	counted := now.Adoptions - old.Adoptions
	if c == nil || c.id != now.ID || c.kind != "adopt" && c.kind != "requeue orphan" {
		if counted != 0 {
			return "it is counted as an adoption, and is none"
		}
		return ""
	}
	past := now.History[len(now.History)-1]
	if (counted == 1) != (past.Error == SessionLost) || counted == 0 != (past.Error == LostInOutage) {
		return fmt.Sprintf("%d adoptions are counted, and its history says %s", counted, past.Error)
	}
	for _, i := range x.world.sessions {
		held := before.kvs[x.t.k.claim(i.before, now.ID)]
		if counted == 1 || x.world.comesBack && held != nil && held.ModRevision == past.Fence && x.opened(before, i) {
			return ""
		}
	}
	return "a node may have died under it, and that was not counted"
}

// wrongOutcome says what is wrong with an outcome by what stood before it.
func (x *explorer) wrongOutcome(before *evaluator, now row, c *call) string {
	asked := ""
	q := x.asked(before, now.ID)
	if q != nil {
		asked = cmp.Or(q.What, "cancel")
	}
	switch {
	case c == nil:
		return "nobody ended " + now.ID
	case c.kind == "end orphan" && asked != "" && !answers(now, asked):
		return fmt.Sprintf("%s was asked for, and it is %s: %s", asked, now.Outcome, now.Reason)
	case now.Outcome == Cancelled && q == nil && c.kind != "cancel waiting":
		return "cancelled, and nobody asked for it"
	case now.Outcome == Abandoned:
		return x.wrongEvidence(before, now, c, asked)
	case now.Reason == reasonDeadline && now.DeadlineAt.IsZero():
		return "it had no deadline"
	case now.Reason == reasonQuarantine && now.Adoptions != now.spec.MaxAdoptions:
		return fmt.Sprintf("quarantined after %d adoptions", now.Adoptions)
	}
	return ""
}

// answers says whether an orphan's end is what was asked for. Its handler can't
// complete it any more, and that of an owner-bound one can't be cancelled.
func answers(now row, asked string) bool {
	switch asked {
	case RequestAbandon:
		return now.Outcome == Abandoned && now.Evidence != nil && now.Evidence.What == EvidenceRequest
	case RequestDeadline:
		return now.Outcome == Failed && now.Reason == reasonDeadline
	default:
		return now.Outcome == Cancelled || now.spec.Disposition == OwnerBound
	}
}

// wrongEvidence says by what right nothing may be abandoned.
func (x *explorer) wrongEvidence(before *evaluator, now row, c *call, asked string) string {
	ev := now.Evidence
	if ev == nil {
		return "abandoned without evidence"
	}
	held := before.kvs[x.t.k.claim(ev.Session, now.ID)] != nil
	switch {
	case ev.What == EvidenceRequest && (asked == RequestAbandon || c.asks == RequestAbandon):
	case ev.What == EvidenceDeath && held && ev.Proof != "" && x.node(before, ev.Session).value.Evidence == ev.Proof:
	case ev.What == EvidenceOwnerDrain && held && ev.Session == c.sid && now.spec.Disposition == OwnerBound:
	default:
		return fmt.Sprintf("abandoned by %+v, which is not so", *ev)
	}
	return ""
}

func (x *explorer) wrongWithRequest(before, after *evaluator, id string) string {
	key := x.t.k.request(id)
	was, is := before.kvs[key], after.kvs[key]
	there, _ := x.row(after, id)
	if was == nil || was == is || there.ended() {
		return ""
	}
	old, now := x.asked(before, id), x.asked(after, id)
	if now != nil && now.What == RequestAbandon && old.What != RequestAbandon {
		return "" // the stronger one replaces it
	}
	return "the request for " + id + " was forgotten"
}

// wrongWithWritten: what attempts write is theirs alone, and newer over older.
func (x *explorer) wrongWithWritten(before, after *evaluator, id string, c *call) string {
	for key, kv := range after.kvs {
		kind, rest, _ := strings.Cut(strings.TrimPrefix(key, x.t.k.root), "/")
		if (kind != "progress" && kind != "step") || before.kvs[key] == kv {
			continue
		}
		if before.kvs[x.t.k.claim(c.sid, id)] == nil {
			return fmt.Sprintf("%s was written by %s, who has no claim", rest, c.sid)
		}
		var now, old wroteValue
		if err := json.Unmarshal(kv.Value, &now); err != nil {
			panic(err)
		}
		if there, _ := x.row(before, id); now.Attempt != there.Attempt+1 {
			return fmt.Sprintf("%s was written by attempt %d, the present one is %d", rest, now.Attempt, there.Attempt+1)
		}
		if was := before.kvs[key]; was != nil && json.Unmarshal(was.Value, &old) == nil && madeBefore(now.Nonce, old.Nonce) {
			return rest + " was written over by an older one"
		}
	}
	return ""
}

func (x *explorer) wrongWithClaims(before, after *evaluator, id string, c *call) string {
	now, _ := x.row(after, id)
	for _, key := range x.around(before, id).claims {
		claim, sid := before.kvs[key], strings.Split(key, "/")[4]
		if after.kvs[key] == claim {
			continue
		}
		if (c == nil || c.sid != sid) && before.kvs[x.t.k.session(sid)] != nil {
			return "the claim of a living session was taken away"
		}
		if (c == nil || c.sid != sid) && now.spec.Disposition == OwnerBound && !now.ended() {
			return "others go on with what is owner-bound"
		}
		if c != nil && c.kind != "unclaim" && now.Fence != claim.ModRevision {
			return fmt.Sprintf("the claim with fence %d ended, the row says %d", claim.ModRevision, now.Fence)
		}
	}
	for _, key := range x.around(after, id).claims {
		claim := after.kvs[key]
		if before.kvs[key] == claim {
			continue
		}
		if claim.ModRevision <= now.Fence {
			return fmt.Sprintf("the new fence of %s is %d, it had %d", id, claim.ModRevision, now.Fence)
		}
		if now.spec.Disposition == External || now.What == whereParked {
			return "claimed although it is done outside"
		}
		if now.spec.Disposition == OwnerBound && now.Attempt > x.base[now.Opened] {
			return fmt.Sprintf("owner-bound, and claimed for attempt %d", now.Attempt+1)
		}
		if before.kvs[x.t.k.request(id)] != nil {
			return "claimed although somebody asks to end it"
		}
		if c != nil && (c.kind == "claim" || c.kind == "adopt") && before.kvs[x.t.k.queue("main")] != nil {
			return "claimed from a paused queue"
		}
	}
	return ""
}

func (x *explorer) wrongWithSessions(before, after *evaluator, c *call) string {
	for _, incarnation := range x.world.sessions {
		session, node := x.t.k.session(incarnation.sid), x.t.k.node(incarnation.sid)
		if c != nil && before.kvs[node] == nil && after.kvs[node] != nil {
			return incarnation.sid + " was forgotten and is back in the roster"
		}
		if c != nil && before.kvs[session] != nil && before.kvs[node] != nil && after.kvs[node] == nil {
			return incarnation.sid + " was forgotten before its session was gone"
		}
		if c != nil && c.kind != "end session" && x.alive(before, incarnation.sid) && after.kvs[session] == nil {
			return incarnation.sid + " lives, and its session was ended without proof"
		}
	}
	return ""
}

// justAsItWas is the belief of a sender who must know for certain.
func justAsItWas(c *call, _ *evaluator, applied bool) string {
	if applied != (c.landed > 0) {
		return fmt.Sprintf("its sender believes that it happened: %v; it did: %v", applied, c.landed > 0)
	}
	return ""
}

// askedNothing is for calls whose sender does not care who did it.
func askedNothing(*call, *evaluator, bool) string { return "" }

// started is the belief of a starter. Once the process was opened again it
// may take its own start for somebody else's: the answer is the same process.
func (x *explorer) started(c *call, at *evaluator, applied bool) string {
	if there, ok := x.row(at, c.id); ok && there.Series > 1 && !applied {
		return ""
	}
	return justAsItWas(c, at, applied)
}

// requested is the belief of somebody who asks for an end: if his request is
// not found it was refused, or has been answered, or somebody asked for more.
func (x *explorer) requested(then row) func(*call, *evaluator, bool) string {
	return func(c *call, at *evaluator, applied bool) string {
		there, _ := x.row(at, c.id)
		answered := there.ended() || there.Series > then.Series
		if c.landed > 0 && !applied && (answered || at.kvs[x.t.k.request(c.id)] != nil) {
			return ""
		}
		return justAsItWas(c, at, applied)
	}
}

// overwritten is the belief of a holder who writes, one at a time. If what he
// wrote is not found he has written something newer, or the claim is gone.
func (x *explorer) overwritten(key string, fence int64) func(*call, *evaluator, bool) string {
	return func(c *call, at *evaluator, applied bool) string {
		lost := view(at.kvs).modRevision(x.t.k.claim(c.sid, c.id)) != fence
		if c.landed > 0 && !applied && (at.kvs[key] != nil || lost) {
			return ""
		}
		return justAsItWas(c, at, applied)
	}
}

// released is the belief of a node that gave back a claim which it had never
// entered. That is no attempt and in no history: once somebody else wrote the
// row nothing tells of it, and the node believes that it lost the claim. It
// does the same in either case, nothing.
func (x *explorer) released(written row) func(*call, *evaluator, bool) string {
	return func(c *call, at *evaluator, applied bool) string {
		if there, _ := x.row(at, c.id); c.landed > 0 && !applied && there.Mark != written.Mark {
			return ""
		}
		return justAsItWas(c, at, applied)
	}
}
