package supervisor

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/supervisor/internal/undertaker"
)

// willTimeout is for the look whether the witness will get through to etcd.
const willTimeout = 10 * time.Second

// witnessed keeps the witness of a node and its session in step: the session's record names the witness, and the witness
// knows the session's deadline and how to end it.
type witnessed struct {
	link     *WitnessLink // nil: there is none
	registry *registry.Registry
	access   undertaker.Access
	log      *zap.Logger
	detach   func()

	ended   chan struct{}  // closed by end, with the node's life
	leaving sync.WaitGroup // of wills

	// changing holds one while a session is opened or its record changed, as no other witness is to come between: a mutex
	// that a context can end the wait for. It guards all below.
	changing chan struct{}

	held *registry.Session // opened last
	told *registry.Session // the last that a will was left for
	at   []string          // addresses of etcd, for letters
}

func newWitnessed(c Config, log *zap.Logger) *witnessed {
	return &witnessed{
		link: c.Witness, registry: c.Registry, access: accessOf(c), log: log.Named("witness"),
		detach: func() {}, ended: make(chan struct{}), changing: make(chan struct{}, 1),
	}
}

// accessOf takes what the registry's client tells if nothing else was said. It does not tell of certificates.
func accessOf(c Config) undertaker.Access {
	if a := c.WitnessAccess; a != nil {
		return undertaker.Access{
			Endpoints: a.Endpoints, Username: a.Username, Password: a.Password,
			CA: a.CA, Cert: a.Cert, Key: a.Key, ServerName: a.ServerName,
		}
	}
	client := c.Registry.Client()
	a := undertaker.Access{Endpoints: client.Endpoints(), Username: client.Username, Password: client.Password}
	if a.Username != "" && !slices.ContainsFunc(a.Endpoints, bare) {
		return a
	}
	// Whether an endpoint without a scheme is spoken to with TLS, the client does not tell: no password is tried there.
	a.Username, a.Password = "", ""
	return a
}

func bare(endpoint string) bool { return !strings.Contains(endpoint, "://") }

func (w *witnessed) begin() {
	if w.link != nil {
		w.detach = w.link.attach(w.record)
	}
}

// end is for after the session's, once.
func (w *witnessed) end() {
	close(w.ended)
	w.detach()
	w.leaving.Wait()
}

// open opens the node's next session.
func (w *witnessed) open(ctx context.Context, info registry.NodeInfo, ttl time.Duration) (*registry.Session, error) {
	if err := w.lock(ctx); err != nil {
		return nil, err
	}
	defer w.unlock()
	if w.link != nil {
		info.Witness = w.link.Identity()
	}
	info.Replaces = w.held // after an outage: the node has not died under what it held
	s, err := w.registry.OpenSession(ctx, info, ttl)
	if err != nil {
		return nil, err
	}
	w.held = s
	if w.link != nil && len(w.access.Endpoints) > 0 {
		w.leaving.Go(func() { w.leaveWill(s) })
	}
	return s, nil
}

// leave ends a session as it should end, of which the witness has nothing to say.
func (w *witnessed) leave(ctx context.Context, s *registry.Session) error {
	err := w.registry.Leave(ctx, s)
	if err == nil && w.link != nil {
		w.link.revokeWill(s.ID())
	}
	return err
}

func (w *witnessed) renewed(s *registry.Session) {
	if w.link != nil {
		w.link.Deadline(s.ID(), s.BootDeadline())
	}
}

// record puts a new witness on the record of the session that is held. One that is over needs none, and the next one has
// it from the start.
func (w *witnessed) record(ctx context.Context, identity lease.Identity) error {
	if err := w.lock(ctx); err != nil {
		return err
	}
	defer w.unlock()
	s := w.held
	if s == nil || !s.Alive() {
		return nil
	}
	ctx, cancel := within(ctx, s.Done())
	defer cancel()
	if err := w.registry.RecordWitness(ctx, s, identity); err != nil && s.Alive() {
		return err
	}
	if w.told == s {
		w.setWill(s) // the record is a part of it
	}
	return nil
}

// leaveWill tries whether the witness will get through to etcd, as it would be too late to say so when the node is dead,
// and leaves the will. A witness that tried in vain would keep others from going by the kernel's word.
func (w *witnessed) leaveWill(s *registry.Session) {
	ending, stop := until(w.ended)
	defer stop()
	ending, stopAtLoss := within(ending, s.Done())
	defer stopAtLoss()
	pause := newPause()
	for said := false; ; said = true {
		err := w.try(ending, s.Key())
		if err == nil {
			break
		}
		if !said && ending.Err() == nil {
			w.log.Warn("the witness can't reach etcd: should this process die, others of other machines take over when the TTL is over, not at once",
				zap.Error(err), zap.String("advice", "set Config.WitnessAccess"))
		}
		select {
		case <-ending.Done():
			return
		case <-time.After(pause.NextBackOff()):
		}
	}
	// Without a letter first: whoever knows the addresses may be slow to tell them.
	w.putWill(ending, s, nil)
	if at := w.resolve(ending); len(at) > 0 {
		w.putWill(ending, s, at)
	}
}

func (w *witnessed) putWill(ctx context.Context, s *registry.Session, at []string) {
	if w.lock(ctx) != nil {
		return
	}
	defer w.unlock()
	w.at = at
	if s.Alive() {
		w.setWill(s)
	}
}

func (w *witnessed) try(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, willTimeout)
	defer cancel()
	return w.access.Try(ctx, key)
}

func (w *witnessed) resolve(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, willTimeout)
	defer cancel()
	return w.access.Resolve(ctx)
}

// lock fails only when ctx ends.
func (w *witnessed) lock(ctx context.Context) error {
	select {
	case w.changing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (w *witnessed) unlock() { <-w.changing }

// setWill needs the lock.
func (w *witnessed) setWill(s *registry.Session) {
	t, err := w.registry.Testament(s)
	if err != nil {
		w.log.Error("no will", zap.Error(err))
		return
	}
	will, err := undertaker.Will{Access: w.access, Testament: t, PID: os.Getpid(), Addresses: w.at}.Encode()
	if err != nil {
		w.log.Error("no will", zap.Error(err))
		return
	}
	w.link.setWill(s.ID(), will)
	w.told = s
}

// until is a context that ends when done is closed, or when it is cancelled.
func until(done <-chan struct{}) (context.Context, context.CancelFunc) {
	return within(context.Background(), done)
}

// within ends ctx also when done is closed.
func within(ctx context.Context, done <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
