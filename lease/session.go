package lease

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	defaultTTL = 10 * time.Second
	maxTTL     = 9_000_000_000 * time.Second // etcd refuses more

	// requestTimeout is for the requests that no renewal limits.
	requestTimeout = 5 * time.Second
)

// Record is one key with its value.
type Record struct {
	Key   string
	Value []byte
}

// Options of a session.
type Options struct {
	// TTL is how long after its last renewal etcd lets the session live. It
	// is rounded up to whole seconds, and the server may raise it: by default
	// it grants no less than 2 s. 0 means 10 s.
	TTL time.Duration

	// Records returns what Open is to put for the session with this id: the
	// session's record, which lives on its lease, and the node's, which
	// outlives it. Required, as are both keys.
	Records func(sid string) (session, node Record)

	// Logger is told of renewals that fail. nil means silence.
	Logger *zap.Logger
}

func (o *Options) validate() error {
	var faults []error
	if o.TTL < 0 || o.TTL > maxTTL {
		faults = append(faults, fmt.Errorf("TTL %v: must be between 0 and %v", o.TTL, maxTTL))
	}
	if o.Records == nil {
		faults = append(faults, errors.New("Records: required"))
	}
	return errors.Join(faults...)
}

func (o *Options) seconds() int64 {
	ttl := o.TTL
	if ttl == 0 {
		ttl = defaultTTL
	}
	return int64(math.Ceil(ttl.Seconds()))
}

// Session is one incarnation of a node in etcd. See the package's
// documentation. All methods may be called from any goroutine.
type Session struct {
	*holding
	*tenure
	sid     string
	stopped chan struct{} // closed when the session's goroutines have ended

	revoking chan struct{} // holds one while a Close revokes: a mutex that a context can end the wait for
	revoked  bool          // guarded by revoking
}

// Open grants a lease and announces the session. The session then renews its
// lease until it is lost or closed; ctx ends Open alone.
//
// If Open fails it revokes the lease again, which may take 5 s longer than ctx,
// and leaves at most a node's record without a session behind. An announcement
// that was not answered fails too, whether or not it has reached etcd.
func Open(ctx context.Context, client *clientv3.Client, opts Options) (*Session, error) {
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	asked := now()
	h, ttl, err := grant(ctx, client, opts.seconds())
	if err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	// The session outlives ctx, but keeps its values, such as a trace.
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Session{
		holding:  h,
		tenure:   newTenure(now, asked, ttl, stop),
		sid:      fmt.Sprintf("%016x", uint64(h.lease)),
		stopped:  make(chan struct{}),
		revoking: make(chan struct{}, 1),
	}
	session, node := opts.Records(s.sid)
	err = h.announce(ctx, session, node)
	if err == nil {
		err = s.over() // the announcement may have taken longer than the TTL
	}
	if err != nil {
		s.end(ErrClosed)
		return nil, fmt.Errorf("open session %s: %w", s.sid, errors.Join(err, s.revoke(context.WithoutCancel(ctx))))
	}
	log := opts.Logger
	if log == nil {
		log = zap.NewNop()
	}
	go func() {
		defer close(s.stopped)
		keep(keeping, s.tenure, h, asked, log.Named("lease").With(zap.String("session", s.sid)))
	}()
	return s, nil
}

func grant(ctx context.Context, client *clientv3.Client, seconds int64) (*holding, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := client.Grant(ctx, seconds)
	if err != nil {
		return nil, 0, fmt.Errorf("grant: %w", err)
	}
	return &holding{client: client, lease: resp.ID}, time.Duration(resp.TTL) * time.Second, nil
}

// announce puts both records at once: there is never a session whose node is
// not known, and so nobody whose claims could not be found.
func (h *holding) announce(ctx context.Context, session, node Record) error {
	if session.Key == "" || node.Key == "" {
		return errors.New("announce: Records returned an empty key")
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := h.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(session.Key), "=", 0)).
		Then(
			clientv3.OpPut(session.Key, string(session.Value), clientv3.WithLease(h.lease)),
			clientv3.OpPut(node.Key, string(node.Value)),
		).
		Commit()
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	if !resp.Succeeded {
		return fmt.Errorf("announce: the key %q exists", session.Key)
	}
	h.key, h.created = session.Key, resp.Header.GetRevision()
	h.cluster = resp.Header.GetClusterId()
	h.saw(h.created)
	return nil
}

// ID is the session's id, the lease's in 16 hexadecimal digits.
func (s *Session) ID() string { return s.sid }

// Lease is the lease that the session's key is on.
func (s *Session) Lease() clientv3.LeaseID { return s.lease }

// Key is the session's key.
func (s *Session) Key() string { return s.key }

// CreateRevision is that of the session's key, as Open put it.
func (s *Session) CreateRevision() int64 { return s.created }

// Guard returns the conditions, a new slice each time, under which a
// transaction of this session may be applied: that its key is the one which
// Open put, and on its lease.
func (s *Session) Guard() []clientv3.Cmp { return s.guard() }

// TTL is what etcd granted, in whole seconds.
func (s *Session) TTL() time.Duration { return s.granted() }

// Deadline is when the session ends unless it is renewed before, on Go's
// monotonic clock. It is earlier than the end that etcd knows.
func (s *Session) Deadline() time.Time { return s.deadline().mono }

// BootDeadline is the deadline on the clock of [Boottime], for another process
// of this machine. After a suspend it is the earlier of the two.
func (s *Session) BootDeadline() time.Duration { return s.deadline().boot }

// Alive reports whether the session is neither lost nor closed, nor past its
// deadline on either clock. It sends nothing. Once false, it stays false.
func (s *Session) Alive() bool { return s.over() == nil }

// Renewal tells how the renewals go.
type Renewal struct {
	Asked time.Time // when the last one was sent that was answered
	Err   error     // why the latest one was not; nil if it was
}

// Renewal tells how the renewals of the session go, or went.
func (s *Session) Renewal() Renewal { return s.last() }

// Renewed is a doorbell: it rings after each renewal, once for those that
// nobody has heard yet. It is for one listener.
func (s *Session) Renewed() <-chan struct{} { return s.renewed }

// Done is closed when the session is lost or closed.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is nil while the session is alive. Then it is [ErrClosed], or wraps
// [ErrLost] and the cause.
func (s *Session) Err() error { return s.over() }

// Put rewrites the value of the session's key and leaves its lease alone. If
// the session is over, or etcd says that the key is not this session's any
// more, nothing is written and the error is that of [Session.Err]; in the
// second case the session is lost by it. After any other error, that of an
// ended context included, the value may or may not have been written.
//
// Puts that run at the same time are written in any order.
func (s *Session) Put(ctx context.Context, value []byte) error {
	if err := s.over(); err != nil {
		return fmt.Errorf("put session %s: %w", s.sid, err)
	}
	err := within(ctx, requestTimeout, func(ctx context.Context) error { return s.put(ctx, value) })
	if errors.Is(err, ErrLost) {
		s.end(err)
	}
	if err != nil {
		return fmt.Errorf("put session %s: %w", s.sid, err)
	}
	return nil
}
