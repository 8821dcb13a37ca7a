//go:build linux || darwin

package supervisor

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
)

// TestWillIsLeftBeforeEveryAddressIsFound: name servers that don't answer keep
// the witness from a letter, but not from the will.
func TestWillIsLeftBeforeEveryAddressIsFound(t *testing.T) {
	released, system := make(chan struct{}), net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		<-released
		return nil, net.ErrClosed
	}}
	t.Cleanup(func() { net.DefaultResolver = system })
	client := etcdtest.Client(t)
	r, err := registry.Open(t.Context(), client, registry.Options{Namespace: etcdtest.Namespace(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	link := &WitnessLink{charges: newCharges()}
	w := newWitnessed(Config{
		Witness: link, Registry: r, WitnessAccess: &WitnessAccess{Endpoints: append(client.Endpoints(), "nobody.invalid:2379")},
	}, zap.NewNop())
	begun := time.Now()
	s, err := w.open(t.Context(), registry.NodeInfo{Name: "n"}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a will is left", func() bool {
		link.charges.mu.Lock()
		defer link.charges.mu.Unlock()
		return link.charges.wills[s.ID()] != ""
	})
	if after := time.Since(begun); after >= willTimeout {
		t.Errorf("it was left after %v", after)
	}
	w.end()
	close(released)
	if err := w.leave(t.Context(), s); err != nil {
		t.Error(err)
	}
}

// TestNextWitnessHearsOfGroupsBeforeWills: the node may end between two lines,
// and a witness that knows of no group would say that nothing of them is left.
func TestNextWitnessHearsOfGroupsBeforeWills(t *testing.T) {
	c := newCharges()
	for _, session := range []string{"s", "t"} {
		c.setDeadline(session, time.Hour)
		c.setWill(session, "will")
		c.add(1<<22, 1, session)
	}
	w := &beside{charges: c, outbox: newOutbox(), done: make(chan struct{})}
	close(w.done)
	if err := c.handTo(t.Context(), w); !errors.Is(err, ErrWitnessGone) {
		t.Errorf("%v, want %v", err, ErrWitnessGone)
	}
	told, _ := w.outbox.take()
	var words []string
	for line := range bytes.Lines(told) {
		word, _, _ := bytes.Cut(line, []byte(" "))
		words = append(words, string(word))
	}
	if want := []string{"deadline", "deadline", "group", "group", "will", "will"}; !slices.Equal(words, want) {
		t.Errorf("it is told %v, want %v", words, want)
	}
}
