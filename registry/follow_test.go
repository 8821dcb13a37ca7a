package registry

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/drover-run/drover/lease/etcdtest"
)

// heard is what Follow told, one line for each event.
type heard chan string

func (h heard) events() Events {
	return Events{
		Ready:   func() { h <- "ready" },
		Pending: func(e Entry) { h <- fmt.Sprintf("pending %s/%s/%d %s", e.Queue, e.Kind, e.Priority, e.ID) },
		Gone:    func(e Entry) { h <- "gone " + e.ID },
		Timer:   func(id string, due time.Time) { h <- "timer " + id + " " + due.UTC().Format(time.RFC3339) },
		Joined: func(p Peer) {
			h <- fmt.Sprintf("joined %s %v %v %d %t", p.Session, p.Queues, p.Kinds, p.Max, p.Draining)
		},
		SessionEnded: func(sid string) { h <- "ended " + sid },
		Requested: func(id string, q *Request) {
			if q == nil {
				h <- "answered " + id
			} else {
				h <- "requested " + id + " by " + q.By
			}
		},
		Poked: func() { h <- "poked" },
	}
}

// follow follows until the test ends, or until etcd's end tells why.
func follow(t *testing.T, r *Registry, node string) (heard, <-chan error) {
	t.Helper()
	h, lost := make(heard, 100), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		lost <- r.Follow(ctx, node, h.events())
	}()
	t.Cleanup(func() { cancel(); <-done })
	h.next(t, "ready")
	return h, lost
}

func (h heard) next(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-h:
		if got != want {
			t.Fatalf("heard %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("never heard %q", want)
	}
}

func TestFollowTellsWhatConcernsANode(t *testing.T) {
	r := newRegistry(t)
	a, b := join(t, r, "a"), join(t, r, "b")
	h, _ := follow(t, r, "a")
	c2, err := r.OpenSession(t.Context(), NodeInfo{Name: "c", Queues: []string{"q"}, Kinds: []string{"k", "l"}, Max: 3}, time.Minute)
	noErr(t, err)
	t.Cleanup(func() { leave(t, c2) })
	h.next(t, "joined "+c2.ID()+" [q] [k l] 3 false")
	noErr(t, r.Drain(t.Context(), c2))
	h.next(t, "joined "+c2.ID()+" [q] [k l] 3 true")
	start(t, r, "p/1", Priority(0))
	h.next(t, "pending default/k/0 p/1")
	due := time.Date(2050, 1, 2, 3, 4, 5, 0, time.UTC)
	start(t, r, "late", At(due))
	h.next(t, "timer late 2050-01-02T03:04:05Z")
	c := claim(t, r, a, "p/1")
	h.next(t, "gone p/1")
	_, err = r.Cancel(t.Context(), "p/1", Request{By: "me"})
	noErr(t, err)
	h.next(t, "requested p/1 by me")
	noErr(t, r.EndCancelled(t.Context(), c, "", "", nil))
	h.next(t, "answered p/1")
	noErr(t, r.Poke(t.Context(), "b"))
	noErr(t, r.Poke(t.Context(), "a"))
	h.next(t, "poked")
	noErr(t, r.Poke(t.Context(), "a"))
	h.next(t, "poked")
	leave(t, b)
	h.next(t, "ended "+b.ID())
	write(t, r, r.keys.root+"pending/nonsense", "")
	write(t, r, r.keys.timers()+"nonsense", "")
	write(t, r, r.keys.request("p"), "garbage")
	h.next(t, "requested p by ")
	standing, err := r.Requests(t.Context())
	noErr(t, err)
	if _, ok := standing["p"]; !ok || len(standing) != 1 {
		t.Errorf("standing: %v", standing)
	}
}

func TestFollowTakesNoEvents(t *testing.T) {
	r := newRegistry(t)
	s := join(t, r, "a")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	ready := make(chan struct{})
	go func() { done <- r.Follow(ctx, "a", Events{Ready: func() { close(ready) }}) }()
	<-ready
	start(t, r, "p")
	start(t, r, "q", At(time.Now().Add(time.Hour)))
	claim(t, r, s, "p")
	_, err := r.Cancel(t.Context(), "p", Request{})
	noErr(t, err)
	noErr(t, r.Poke(t.Context(), "a"))
	leave(t, s)
	cancel()
	noErr(t, <-done)
}

func TestFollowSaysThatItsWatchIsLost(t *testing.T) {
	server := etcdtest.New(t)
	client := server.Client(t)
	r := registryOn(t, client, Options{})
	_, lost := follow(t, r, "a")
	noErr(t, client.Close())
	select {
	case err := <-lost:
		if err == nil {
			t.Error("it ended without an error")
		}
	case <-time.After(20 * time.Second):
		t.Error("it never ended")
	}
}
