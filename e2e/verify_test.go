package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// verifier holds every revision of a namespace against what is always true. It reads raw keys, and shares no code with
// drover. What it knows of the layout is what ARCHITECTURE.md says.
type verifier struct {
	root     string
	sessions map[string]stored // by sid
	names    map[string]string // of nodes, by sid
	lives    map[string]*life
	problems []string
}

// keyChange is one key at one revision.
type keyChange struct {
	key   string
	gone  bool
	value []byte
	lease int64
}

type stored struct {
	revision, lease int64
}

// life is what is known of one process.
type life struct {
	id      string
	row     *rowSeen        // nil: there is none
	places  map[string]bool // keys
	request bool
	held    *claimSeen   // the claim that stands
	claims  []*claimSeen // all of them, oldest first
	ends    []endSeen
	opened  int // attempts that had ended when the series was opened
}

type rowSeen struct {
	Series  int    `json:"series"`
	Attempt int    `json:"attempt"`
	Outcome string `json:"outcome"`
	Fence   int64  `json:"fence"`
	History []past `json:"history"`
	Spec    struct {
		Kind        string `json:"kind"`
		Disposition string `json:"disposition"`
	} `json:"spec"`
	text string
}

// past is an attempt that ended.
type past struct {
	Attempt int    `json:"attempt"`
	Node    string `json:"node"`
	Fence   int64  `json:"fence"`
	Error   string `json:"error"`
}

type claimSeen struct {
	key, sid        string
	fence           int64
	attempt, series int    // that it was for
	node            string // its name
}

type endSeen struct {
	series  int
	outcome string
}

// lostWithNode begins the error of an attempt whose session ended, maxPast how many attempts a row remembers.
const (
	lostWithNode = "session lost"
	maxPast      = 20
)

func newVerifier(namespace string) *verifier {
	return &verifier{
		root: "/" + namespace + "/v1/", sessions: map[string]stored{}, names: map[string]string{}, lives: map[string]*life{},
	}
}

func (v *verifier) problemf(format string, args ...any) {
	v.problems = append(v.problems, fmt.Sprintf(format, args...))
}

var idInKey = strings.NewReplacer("%25", "%", "%2F", "/")

func (v *verifier) life(segment string) *life {
	id := idInKey.Replace(segment)
	l := v.lives[id]
	if l == nil {
		l = &life{id: id, places: map[string]bool{}}
		v.lives[id] = l
	}
	return l
}

// step is what one revision did to one process.
type step struct {
	revision      int64
	row           *rowSeen   // before
	claim         *claimSeen // before
	requestBefore bool
	claimed       bool // a claim was put
}

// apply takes the next revision.
func (v *verifier) apply(revision int64, changes []keyChange) {
	touched := map[*life]*step{}
	touch := func(segment string) (*life, *step) {
		l := v.life(segment)
		s := touched[l]
		if s == nil {
			s = &step{revision: revision, row: l.row, claim: l.held, requestBefore: l.request}
			touched[l] = s
		}
		return l, s
	}
	// Rows first: what a claim is for stands there.
	slices.SortStableFunc(changes, func(a, b keyChange) int { return v.order(a) - v.order(b) })
	for _, c := range changes {
		rest, ours := strings.CutPrefix(c.key, v.root)
		if !ours {
			continue
		}
		part := strings.Split(rest, "/")
		switch what := part[0]; {
		case what == "session" && len(part) == 2:
			v.session(part[1], revision, c)
		case what == "process" && len(part) == 2:
			l, _ := touch(part[1])
			v.row(l, c)
		case what == "request" && len(part) == 2:
			l, _ := touch(part[1])
			l.request = !c.gone
		case what == "claim" && len(part) == 3:
			l, s := touch(part[2])
			v.claim(l, s, part[1], c)
		case what == "pending" && len(part) == 6, what == "parked" && len(part) == 2:
			l, _ := touch(part[len(part)-1])
			l.place(c)
		case what == "timer" && len(part) == 4 && part[3] != "deadline":
			l, _ := touch(part[2])
			l.place(c)
		}
	}
	for l, s := range touched {
		for _, rule := range rules {
			if problem := rule(v, l, s); problem != "" {
				v.problemf("revision %d, %s: %s", revision, l.id, problem)
			}
		}
	}
}

func (v *verifier) order(c keyChange) int {
	if strings.HasPrefix(c.key, v.root+"process/") {
		return 0
	}
	return 1
}

func (v *verifier) session(sid string, revision int64, c keyChange) {
	if c.gone {
		delete(v.sessions, sid)
		return
	}
	v.sessions[sid] = stored{revision, c.lease}
	var value struct{ Node string }
	if json.Unmarshal(c.value, &value) == nil && value.Node != "" {
		v.names[sid] = value.Node
	}
}

func (v *verifier) row(l *life, c keyChange) {
	if c.gone {
		l.row = nil
		return
	}
	r := &rowSeen{text: string(c.value)}
	if err := json.Unmarshal(c.value, r); err != nil {
		v.problemf("%s: %v in %s", l.id, err, c.value)
		return
	}
	if l.row == nil || l.row.Series != r.Series {
		l.opened = r.Attempt
	}
	l.row = r
}

func (v *verifier) claim(l *life, s *step, sid string, c keyChange) {
	if c.gone {
		delete(l.places, c.key)
		if l.held != nil && l.held.key == c.key {
			l.held = nil
		}
		return
	}
	l.places[c.key] = true
	now := &claimSeen{key: c.key, sid: sid, fence: s.revision, node: v.names[sid]}
	if l.row != nil {
		now.attempt, now.series = l.row.Attempt+1, l.row.Series
	}
	l.held, l.claims, s.claimed = now, append(l.claims, now), true
}

func (l *life) place(c keyChange) {
	if c.gone {
		delete(l.places, c.key)
	} else {
		l.places[c.key] = true
	}
}

// alive says whether the session's key stands on its lease.
func (v *verifier) alive(sid string) bool { return v.sessions[sid].lease != 0 }

// A verifierRule says what is wrong with a process after a revision.
type verifierRule func(*verifier, *life, *step) string

var rules = []verifierRule{
	onePlace, requestsStop, onlyLegalRows, oneOutcome, theLastFence, underASession, takeoversAreCounted, ownerBoundOnce,
}

// onePlace: what has not ended is in just one place, what has ended in none.
func onePlace(_ *verifier, l *life, _ *step) string {
	want := 1
	if l.row == nil || l.row.Outcome != "" {
		want = 0
	}
	if len(l.places) != want {
		return fmt.Sprintf("it is in %d places, want %d: %q", len(l.places), want, slices.Sorted(maps.Keys(l.places)))
	}
	return ""
}

// requestsStop: nothing that was asked to end is claimed, or waits to be.
func requestsStop(v *verifier, l *life, s *step) string {
	if !l.request {
		return ""
	}
	if s.claimed {
		return "it was claimed although a request stands"
	}
	for place := range l.places {
		if strings.HasPrefix(place, v.root+"pending/") || strings.HasPrefix(place, v.root+"timer/") {
			return "it waits although a request stands: " + place
		}
	}
	return ""
}

// onlyLegalRows: nothing is lost, and counters only grow.
func onlyLegalRows(_ *verifier, l *life, s *step) string {
	was, is := s.row, l.row
	switch {
	case was == is:
	case is == nil:
		if was.Outcome == "" {
			return "its row is gone, and it had not ended"
		}
	case was == nil:
		if is.Series != 1 || is.Attempt != 0 || is.Outcome != "" {
			return "it began as " + is.text
		}
	case is.Attempt < was.Attempt || is.Attempt > was.Attempt+1 || is.Fence < was.Fence:
		return fmt.Sprintf("from attempt %d and fence %d to attempt %d and fence %d", was.Attempt, was.Fence, is.Attempt, is.Fence)
	}
	if is == nil {
		return ""
	}
	for i, p := range is.History[min(1, len(is.History)):] {
		if before := is.History[i]; p.Attempt != before.Attempt+1 || p.Fence <= before.Fence {
			return fmt.Sprintf("its history goes from attempt %d under %d to %d under %d", before.Attempt, before.Fence, p.Attempt, p.Fence)
		}
	}
	return ""
}

// oneOutcome: a series ends once, and for good.
func oneOutcome(_ *verifier, l *life, s *step) string {
	was, is := s.row, l.row
	if is == nil || was == is {
		return ""
	}
	switch {
	case was == nil:
	case was.Outcome != "" && (is.Series != was.Series+1 || is.Outcome != ""):
		return fmt.Sprintf("series %d ended as %s, and then series %d is %q", was.Series, was.Outcome, is.Series, is.Outcome)
	case was.Outcome == "" && is.Series != was.Series:
		return fmt.Sprintf("series %d was opened before %d ended", is.Series, was.Series)
	}
	if is.Outcome == "" {
		return ""
	}
	if !slices.Contains([]string{"completed", "failed", "cancelled", "abandoned"}, is.Outcome) {
		return "it ended as " + is.Outcome
	}
	l.ends = append(l.ends, endSeen{is.Series, is.Outcome})
	return ""
}

// theLastFence: an outcome is that of the last claim, if there was one.
func theLastFence(_ *verifier, l *life, s *step) string {
	if l.row == nil || l.row == s.row || l.row.Outcome == "" {
		return ""
	}
	var last int64
	if n := len(l.claims); n > 0 {
		last = l.claims[n-1].fence
	}
	if l.row.Fence != last {
		return fmt.Sprintf("it ended under fence %d, its last claim has %d", l.row.Fence, last)
	}
	return ""
}

// underASession: a claim is made by a living session, and by nobody while another one's holder lives.
func underASession(v *verifier, l *life, s *step) string {
	if !s.claimed {
		return ""
	}
	if !v.alive(l.claims[len(l.claims)-1].sid) {
		return "it was claimed under a session that is over"
	}
	if l.row == nil {
		return "it was claimed, and has no row"
	}
	if s.claim != nil && s.claim != l.held && v.alive(s.claim.sid) {
		return "it was claimed while the session lives that held it"
	}
	return ""
}

// takeoversAreCounted: once a session is over, whoever ends its claim says that the attempt was lost with it; a holder
// who does not know has no say any more.
func takeoversAreCounted(v *verifier, l *life, s *step) string {
	if s.claim == nil || s.claim == l.held || l.row == nil {
		return ""
	}
	if _, stands := v.sessions[s.claim.sid]; stands {
		return ""
	}
	if n := len(l.row.History); n > 0 {
		if last := l.row.History[n-1]; last.Fence == s.claim.fence && strings.HasPrefix(last.Error, lostWithNode) {
			return ""
		}
	}
	return fmt.Sprintf("the claim %d was ended when its session was over, and not as lost: %s", s.claim.fence, l.row.text)
}

// ownerBoundOnce: of owner-bound work one attempt is made in a series, whatever becomes of it.
func ownerBoundOnce(_ *verifier, l *life, _ *step) string {
	if l.row != nil && l.row.Spec.Disposition == "owner-bound" && l.row.Attempt > l.opened+1 {
		return fmt.Sprintf("it is owner-bound, and attempt %d is the second of series %d", l.row.Attempt, l.row.Series)
	}
	return ""
}

// settled says what has not come to its end.
func (v *verifier) settled() (open []string) {
	for _, id := range slices.Sorted(maps.Keys(v.lives)) {
		if l := v.lives[id]; l.row != nil && l.row.Outcome == "" || len(l.places) > 0 {
			open = append(open, fmt.Sprintf("%s at %q", id, slices.Sorted(maps.Keys(l.places))))
		}
	}
	return open
}

// excuse is a time in which a node could not stop its attempts before others took them over.
type excuse struct {
	node     string
	from, to time.Time
	// byHand: somebody ended its session, of which it hears at its next renewal. Otherwise it was frozen, and its
	// witness was not.
	byHand bool
}

// explain holds the journal against the rows: each attempt that wrote had the claim that it names, once; each that the
// rows know to have completed wrote that it did.
func (v *verifier) explain(journal []entry, excuses []excuse) {
	type attempt struct {
		id    string
		fence int64
	}
	begun, done := map[attempt]entry{}, map[attempt]bool{}
	running := map[string]entry{} // by id
	for _, e := range journal {
		this := attempt{e.ID, e.Fence}
		switch e.What {
		case "overlap":
			if other, known := running[e.ID]; !known || !excused(other, e, excuses) {
				v.problemf("%s: attempt %d on %s began at %s while %+v ran", e.ID, e.Attempt, e.Node, e.At, other)
			}
		case "begin":
			if _, again := begun[this]; again {
				v.problemf("%s: two attempts under the fence %d", e.ID, e.Fence)
			}
			begun[this], running[e.ID] = e, e
			v.explainBegin(e)
		case "end":
			done[this] = e.How == "done"
			if running[e.ID].Fence == e.Fence {
				delete(running, e.ID)
			}
		}
	}
	for _, l := range v.lives {
		if l.row == nil {
			continue
		}
		for _, p := range l.row.History {
			if p.Error != "" {
				continue
			}
			if this := (attempt{l.id, p.Fence}); begun[this].Attempt != p.Attempt || !done[this] {
				v.problemf("%s: attempt %d completed it, and the journal knows nothing of that", l.id, p.Attempt)
			}
		}
	}
}

// explainBegin is about one attempt that wrote.
func (v *verifier) explainBegin(e entry) {
	l := v.lives[e.ID]
	if l == nil || l.row == nil {
		v.problemf("%s: an attempt wrote, and there is no such process", e.ID)
		return
	}
	i := slices.IndexFunc(l.claims, func(c *claimSeen) bool { return c.fence == e.Fence })
	if i < 0 {
		v.problemf("%s: attempt %d wrote under the fence %d, which no claim has", e.ID, e.Attempt, e.Fence)
		return
	}
	if c := l.claims[i]; c.attempt != e.Attempt || c.node != e.Node {
		v.problemf("%s: the claim %d was for attempt %d on %s, the attempt says %d on %s", e.ID, e.Fence, c.attempt, c.node, e.Attempt, e.Node)
	}
	counted := slices.ContainsFunc(l.row.History, func(p past) bool { return p.Fence == e.Fence })
	standing := l.held != nil && l.held.fence == e.Fence
	if !counted && !standing && len(l.row.History) < maxPast {
		v.problemf("%s: attempt %d wrote, and was never counted", e.ID, e.Attempt)
	}
}

// excused says whether an attempt may have gone on after its claim: only while its node could not know, and a moment
// longer. What exec started is gone also when the node is frozen.
func excused(other, next entry, excuses []excuse) bool {
	const moment = 2 * time.Second
	return slices.ContainsFunc(excuses, func(x excuse) bool {
		return x.node == other.Node && (x.byHand || other.How == "go") &&
			next.At.After(x.from) && (x.to.IsZero() || next.At.Before(x.to.Add(moment)))
	})
}
