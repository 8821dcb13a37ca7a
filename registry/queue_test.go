package registry

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/drover-run/drover/lease/etcdtest"
)

func TestAPausedQueueIsClaimedFromByNobody(t *testing.T) {
	r := newRegistry(t)
	s := join(t, r, "n")
	start(t, r, "p")
	listed := entryOf(t, r, "p")
	noErr(t, r.Pause(t.Context(), "default", "me"))
	if entries := pending(t, r); len(entries) != 0 {
		t.Errorf("listed %s", names(entries))
	}
	// What was listed before can't be claimed either.
	_, err := r.Claim(t.Context(), s, listed)
	wantErr(t, err, ErrNotClaimable)
	noErr(t, r.Resume(t.Context(), "default"))
	if left := keysUnder(t, r, "queue/"); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
	claim(t, r, s, "p")
}

func TestPauseAndResumeChangeNothingTheSecondTime(t *testing.T) {
	c := newClock()
	r := registryAt(t, c)
	noErr(t, r.Pause(t.Context(), "q", "the first"))
	c.advance(time.Hour)
	noErr(t, r.Pause(t.Context(), "q", "the second"))
	resp, err := r.client.Get(t.Context(), r.keys.queue("q"))
	noErr(t, err)
	if got, want := string(resp.Kvs[0].Value), `{"paused":true,"by":"the first","at":"2030-01-01T00:00:00Z"}`; got != want {
		t.Errorf("the queue is %s, want %s", got, want)
	}
	noErr(t, r.Resume(t.Context(), "q"))
	noErr(t, r.Resume(t.Context(), "q"))
	noErr(t, r.Resume(t.Context(), "never"))
	for _, name := range []string{"", "a/b", strings.Repeat("x", 65)} {
		wantErr(t, r.Pause(t.Context(), name, ""), ErrInvalid)
		wantErr(t, r.Resume(t.Context(), name), ErrInvalid)
	}
}

// Whatever pauses a queue, also what can't be read, is gone after a resume, and
// what is not paused is after a pause.
func TestPauseAndResumeWhateverStandsThere(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	for _, state := range []string{`garbage`, `{"paused":false}`, `{"paused":true,"later":1}`} {
		write(t, r, r.keys.queue("default"), state)
		noErr(t, r.Pause(t.Context(), "default", "me"))
		if len(pending(t, r)) != 0 {
			t.Errorf("%s: not paused", state)
		}
		write(t, r, r.keys.queue("default"), state)
		noErr(t, r.Resume(t.Context(), "default"))
		if len(pending(t, r)) != 1 {
			t.Errorf("%s: not resumed", state)
		}
	}
}

func TestAPauseThatIsOvertakenIsTriedAgain(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	other := registryOn(t, etcdtest.Client(t), Options{Namespace: r.options.Namespace})
	wire.nextWrites(func(send func() error) error {
		write(t, other, other.keys.queue("q"), `{"paused":false}`)
		return send()
	})
	noErr(t, r.Pause(t.Context(), "q", "me"))
	wire.nextWrites(func(send func() error) error {
		write(t, other, other.keys.queue("q"), `{"paused":true}`)
		return send()
	})
	noErr(t, r.Resume(t.Context(), "q"))
	if left := keysUnder(t, r, "queue/"); len(left) != 0 || wire.left() != 0 {
		t.Errorf("left are %v", left)
	}
}

func TestNodesAreToldOfQueues(t *testing.T) {
	r := newRegistry(t)
	h, _ := follow(t, r, "a")
	noErr(t, r.Pause(t.Context(), "default", "me"))
	h.next(t, "poked")
	noErr(t, r.Resume(t.Context(), "default"))
	h.next(t, "poked")
}

func TestWindowKeepsToTheRoomOfEachQueue(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "a1", Queue("a"))
	start(t, r, "a2", Queue("a"))
	start(t, r, "a3", Queue("a"), Priority(0))
	start(t, r, "b1", Queue("b"))
	start(t, r, "a4", Queue("a"))
	start(t, r, "b2", Queue("b"))
	w := r.Window([]string{"a", "b"}, []string{"k"})
	for _, c := range []struct {
		limit, a, b int
		want        string
		more        bool
	}{
		{10, 10, 10, "a3 a1 a2 b1 a4 b2", false},
		{10, 4, 2, "a3 a1 a2 b1 a4 b2", false},
		{10, 2, 10, "a3 a1 b1 b2", true}, // a full queue does not clog another
		{10, 0, 10, "b1 b2", true},
		{10, 10, 0, "a3 a1 a2 a4", true},
		{10, -1, 1, "b1", true},
		{10, 0, 0, "", true},
		{3, 10, 10, "a3 a1 a2", true},
		{3, 1, 10, "a3 b1 b2", true},
		{3, 1, 1, "a3 b1", true},
		{5, 4, 1, "a3 a1 a2 b1 a4", true},
	} {
		room := func(queue string) int {
			if queue == "a" {
				return c.a
			}
			return c.b
		}
		entries, more, err := w.List(t.Context(), c.limit, room)
		noErr(t, err)
		if names(entries) != c.want || more != c.more {
			t.Errorf("limit %d, room %d and %d: %q, more %v; want %q, %v", c.limit, c.a, c.b, names(entries), more, c.want, c.more)
		}
	}
	// A queue without room is found whole once there is some.
	if got := list(t, w, 10); got != "a3 a1 a2 b1 a4 b2" {
		t.Errorf("listed %s", got)
	}
}

func TestQueuesTellWhatIsInEach(t *testing.T) {
	c := newClock()
	r := registryAt(t, c)
	s := join(t, r, "n") // it serves the queue default
	for _, id := range []string{"p1", "p2", "p3"} {
		start(t, r, id, Queue("pending"))
		c.advance(10 * time.Second)
	}
	start(t, r, "other kind", Queue("pending"), Priority(3), func(s *Spec) { s.Kind = "other" })
	start(t, r, "later", Queue("scheduled"), At(c.now().Add(time.Hour)), func(s *Spec) { s.Deadline = Duration(2 * time.Hour) })
	start(t, r, "running")
	claim(t, r, s, "running")
	start(t, r, "retried")
	noErr(t, r.Retry(t.Context(), claim(t, r, s, "retried"), c.now().Add(time.Minute), "boom"))
	cancelled(t, r, "ended", Queue("nothing"))
	noErr(t, r.Pause(t.Context(), "paused", ""))
	queues, err := r.Queues(t.Context())
	noErr(t, err)
	b, err := json.Marshal(queues)
	noErr(t, err)
	want := `[{"name":"default","pending":0,"scheduled":1,"running":1,"paused":false},` +
		`{"name":"paused","pending":0,"scheduled":0,"running":0,"paused":true},` +
		`{"name":"pending","pending":4,"scheduled":0,"running":0,"oldest_pending_seconds":30,"paused":false},` +
		`{"name":"scheduled","pending":0,"scheduled":1,"running":0,"paused":false}]`
	if string(b) != want {
		t.Errorf("the queues are\n%s, want\n%s", b, want)
	}
	// One that was due later, or was tried since, waits since then.
	c.advance(time.Hour)
	_, _, err = r.Mature(t.Context(), 100)
	noErr(t, err)
	c.advance(5 * time.Second)
	queues, err = r.Queues(t.Context())
	noErr(t, err)
	for _, q := range queues {
		switch q.Name {
		case "scheduled":
			if q.Scheduled != 0 || q.Pending != 1 || q.OldestPendingSeconds != 5 {
				t.Errorf("it is %+v", q)
			}
		case "default":
			if q.Pending != 1 || q.OldestPendingSeconds != 3600+5-60 {
				t.Errorf("it is %+v", q)
			}
		}
	}
}

func TestQueuesOfManyAreCountedInPages(t *testing.T) {
	r := newRegistry(t)
	fill(t, r, queuePage+300, time.Now().UnixNano())
	start(t, r, "last", Queue("z"))
	queues, err := r.Queues(t.Context())
	noErr(t, err)
	if len(queues) != 2 || queues[0].Pending != queuePage+300 || queues[1].Pending != 1 {
		t.Errorf("the queues are %+v", queues)
	}
}
