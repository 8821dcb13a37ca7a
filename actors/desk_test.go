package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/drover-run/drover/registry"
)

// office is a desk behind an actor, and an asker who notes the answers. What
// is started takes a second, and ends another one later.
type office struct {
	desk   *Desk
	pid    *actor.PID
	asker  *actor.PID
	begun  time.Time
	system *actor.ActorSystem

	mu      sync.Mutex
	at, max int // starts at a time
	answers []string
}

func newOffice(t *testing.T, system *actor.ActorSystem) *office {
	o := &office{begun: time.Now(), system: system}
	o.desk = NewDesk(DeskOptions{
		Start: o.start,
		Wait: func(ctx context.Context, id string) (registry.Process, error) {
			switch id {
			case "unknown":
				return registry.Process{}, registry.ErrNotFound
			case "panic":
				panic("a fault")
			}
			rest(ctx, time.Second)
			return registry.Process{ID: id, Status: registry.StatusCompleted}, context.Cause(ctx)
		},
	})
	o.pid = spawn(t, system, "office", actor.PropsFromFunc(o.desk.Receive))
	o.asker = spawn(t, system, "asker", actor.PropsFromFunc(o.hear))
	synctest.Wait()
	return o
}

func (o *office) start(ctx context.Context, s registry.Spec) (registry.Started, error) {
	o.mu.Lock()
	o.at++
	o.max = max(o.max, o.at)
	o.mu.Unlock()
	rest(ctx, time.Second)
	o.mu.Lock()
	o.at--
	o.mu.Unlock()
	if s.Kind == "" {
		return registry.Started{}, registry.ErrInvalid
	}
	return registry.Started{ID: s.ID, Existing: s.ID == "there"}, context.Cause(ctx)
}

func (o *office) hear(c actor.Context) {
	var text string
	switch m := c.Message().(type) {
	case *Accepted:
		text = fmt.Sprintf("accepted %s %t", m.ID, m.Existing)
	case *Refused:
		text = fmt.Sprintf("refused %s: %v", m.ID, m.Err)
	case *Ended:
		text = fmt.Sprintf("ended %s %s %v", m.ID, m.Process.Status, m.Err)
	default:
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers = append(o.answers, fmt.Sprintf("%s after %s", text, time.Since(o.begun)))
}

func (o *office) ask(messages ...any) {
	for _, m := range messages {
		o.system.Root.RequestWithCustomSender(o.pid, m, o.asker)
	}
	synctest.Wait()
}

func (o *office) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	slices.Sort(o.answers)
	if !slices.Equal(o.answers, want) {
		t.Errorf("answers %q, want %q", o.answers, want)
	}
	o.answers = nil
}

func TestDeskAnswersStartAndAwait(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		o := newOffice(t, system)
		o.ask(&Start{Spec: registry.Spec{ID: "a", Kind: "k"}}, Start{Spec: registry.Spec{ID: "there", Kind: "k"}, Await: true},
			&Start{Spec: registry.Spec{ID: "bad"}, Await: true}, &Await{ID: "b"}, Await{ID: "unknown"}, &Await{ID: "panic"})
		time.Sleep(3 * time.Second)
		o.want(t, "accepted a false after 1s", "accepted there true after 1s", "ended b completed <nil> after 1s",
			"ended panic  panic: a fault after 0s", "ended there completed <nil> after 2s",
			"ended unknown  "+registry.ErrNotFound.Error()+" after 0s", "refused bad: "+registry.ErrInvalid.Error()+" after 1s")
		if err := o.desk.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDeskWorksWithoutSender(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		o := newOffice(t, system)
		system.Root.Send(o.pid, &Start{Spec: registry.Spec{ID: "a", Kind: "k"}, Await: true})
		// One on another system, which what is no protobuf does not reach.
		system.Root.RequestWithCustomSender(o.pid, &Await{ID: "b"}, actor.NewPID("elsewhere:1", "asker"))
		synctest.Wait()
		o.mu.Lock()
		if o.max != 1 {
			t.Errorf("%d were started, want 1", o.max)
		}
		o.mu.Unlock()
		time.Sleep(3 * time.Second)
		o.want(t)
		if err := o.desk.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDeskReceivesWhileThousandsWait(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		o := newOffice(t, system)
		for i := range 3000 {
			o.tell(&Await{ID: fmt.Sprint(i)})
		}
		o.ask(Await{ID: "unknown"})
		o.want(t, "ended unknown  "+registry.ErrNotFound.Error()+" after 0s")
		for i := range 300 {
			o.tell(Start{Spec: registry.Spec{ID: fmt.Sprint(i), Kind: "k"}})
		}
		time.Sleep(time.Minute)
		o.mu.Lock()
		if o.max != 64 || len(o.answers) != 3300 {
			t.Errorf("%d answers, with %d starts at a time; want 3300 and 64", len(o.answers), o.max)
		}
		o.mu.Unlock()
		if err := o.desk.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func (o *office) tell(m any) { o.system.Root.RequestWithCustomSender(o.pid, m, o.asker) }

func TestDeskThatIsStoppedAnswersEverybody(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		o := newOffice(t, system)
		o.ask(&Await{ID: "a"}, Start{Spec: registry.Spec{ID: "b", Kind: "k"}})
		if err := o.desk.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		o.want(t, "ended a completed the node has stopped after 0s", "refused b: the node has stopped after 0s")
		o.ask(&Await{ID: "c"}, Start{Spec: registry.Spec{ID: "d", Kind: "k"}})
		o.want(t, "ended c  the node has stopped after 0s", "refused d: the node has stopped after 0s")
	})
}

func TestDeskStopIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		release := make(chan struct{})
		d := NewDesk(DeskOptions{Wait: func(context.Context, string) (registry.Process, error) {
			<-release
			return registry.Process{}, nil
		}})
		system.Root.Send(spawn(t, system, "office", actor.PropsFromFunc(d.Receive)), Await{ID: "a"})
		synctest.Wait()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("time is up"))
		defer cancel()
		if err := d.Stop(ctx); err == nil || err.Error() != "time is up" {
			t.Errorf("Stop: %v, want that time is up", err)
		}
		close(release)
	})
}

func TestNoDeskRefuses(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		o := newOffice(t, system)
		o.pid = spawn(t, system, "nobody", actor.PropsFromFunc(func(c actor.Context) { (*Desk)(nil).Receive(c) }))
		o.ask(&Await{ID: "a"}, Start{})
		o.want(t, "ended a  the node has stopped after 0s", "refused : the node has stopped after 0s")
	})
}
