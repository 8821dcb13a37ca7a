package registry

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease"
)

// Session is one incarnation of a node: its lease, and what it holds.
type Session struct {
	*lease.Session
	node string

	mu     sync.Mutex
	record Node // as it stands in node/<sid>
	// said is what stands in session/<sid>. It is set once.
	said sessionValue
	// nonces are of claims that are held or whose answer is awaited. A claim
	// under this session with another nonce is a stray.
	nonces map[string]bool
	// unrecorded are nonces of claims whose attempts have ended without that
	// being recorded, as far as is known.
	unrecorded map[string]bool
	// unseen are sessions whose ends say nothing of their nodes. It is set once.
	unseen map[string]bool
}

// Node is the name of the node.
func (s *Session) Node() string { return s.node }

func (s *Session) holder() holder {
	return holder{sid: s.ID(), node: s.node, alive: s.Guard()}
}

// expect notes a claim before it is sent, so that it is no stray when it
// lands.
func (s *Session) expect(nonce string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nonces[nonce] = true
}

// forget is for a claim that was not made, or is not held any more.
func (s *Session) forget(nonce string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.nonces, nonce)
}

// lose is for a claim that may still be held although nobody will write under
// it any more.
func (s *Session) lose(c *Claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.nonces, c.nonce)
	if c.entered {
		s.unrecorded[c.nonce] = true
	}
}

func (s *Session) wasEntered(nonce string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unrecorded[nonce]
}

func (s *Session) knows(nonce string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nonces[nonce]
}

// NodeInfo is what a node says of itself in the roster.
type NodeInfo struct {
	Name    string   // see CheckName
	Address string   // of its actor
	Queues  []string // that it serves
	Kinds   []string // that it knows
	Max     int      // processes at a time
	Version string
	// Process is the operating system's process that is the node, and Witness
	// the one beside it; zero if there is none. They are what the kernel is
	// asked about when somebody wants proof of its death.
	Process lease.Identity
	Witness lease.Identity
	// Replaces is the session that the very same node has lost; nil for its
	// first one, also of a node that was started again. It shows that the node
	// lives, so that what it had claimed is not suspected of its death.
	Replaces *Session

	life string
}

// sessionValue stands in session/<sid>, on the lease.
type sessionValue struct {
	Node     string    `json:"node"`
	Address  string    `json:"address,omitempty"`
	Queues   []string  `json:"queues"`
	Kinds    []string  `json:"kinds,omitempty"`
	Max      int       `json:"max"`
	Draining bool      `json:"draining,omitempty"`
	Version  string    `json:"version,omitempty"`
	Since    time.Time `json:"since"`
}

// nodeValue stands in node/<sid>, on no lease.
type nodeValue struct {
	Name    string         `json:"name"`
	Session string         `json:"incarnation"`
	Process lease.Identity `json:"process,omitzero"`
	Witness lease.Identity `json:"witness,omitzero"`
	// Life is what the sessions of a node have in common from its start to its
	// end.
	Life string `json:"life,omitempty"`
	// Evidence is the proof that the node is dead, if somebody had one. That
	// its session is over is none.
	Evidence string    `json:"evidence,omitempty"`
	EndedAt  time.Time `json:"ended_at,omitzero"`
}

// OpenSession makes this node a member of the cluster, for as long as the
// session is renewed. ttl is rounded up to whole seconds, and by etcd to its
// minimum; zero is 10 s.
func (r *Registry) OpenSession(ctx context.Context, info NodeInfo, ttl time.Duration) (*Session, error) {
	if err := checkName("node", info.Name); err != nil {
		return nil, err
	}
	var unseen map[string]bool
	var err error
	if info.life, unseen, err = r.succession(ctx, info.Replaces); err != nil {
		return nil, fmt.Errorf("open a session for node %s: %w", info.Name, err)
	}
	since := r.now()
	ls, err := lease.Open(ctx, r.client, lease.Options{
		TTL: ttl, Logger: r.log.Named("lease"),
		Records: func(sid string) (session, node lease.Record) {
			return r.records(sid, info, since)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("open a session for node %s: %w", info.Name, err)
	}
	return &Session{
		Session: ls, node: info.Name, nonces: map[string]bool{}, unrecorded: map[string]bool{}, unseen: unseen,
		said:   info.says(since),
		record: Node{Session: ls.ID(), created: ls.CreateRevision(), revision: ls.CreateRevision(), value: info.record(ls.ID())},
	}, nil
}

// record is what stands in node/<sid>.
func (n NodeInfo) record(sid string) nodeValue {
	return nodeValue{Name: n.Name, Session: sid, Process: n.Process, Witness: n.Witness, Life: n.life}
}

func (r *Registry) records(sid string, info NodeInfo, since time.Time) (session, node lease.Record) {
	// Neither value can fail to encode: strings, numbers and a time.
	sv, _ := encode(info.says(since))
	nv, _ := encode(info.record(sid))
	return lease.Record{Key: r.keys.session(sid), Value: sv}, lease.Record{Key: r.keys.node(sid), Value: nv}
}

// Leave ends the session after its claims were handed back: other nodes see
// it at once, and nothing of it is left in the roster.
func (r *Registry) Leave(ctx context.Context, s *Session) error {
	if err := s.Close(ctx); err != nil {
		return err
	}
	_, err := r.commit(ctx, r.table.forgetNode(s.ID()))
	return err
}

// EndSession ends the session of a node on proof of its death, which evidence
// tells in words. Its claims are orphans from then on. A session that is over
// already, or is another one by now, is left alone.
func (r *Registry) EndSession(ctx context.Context, n Node, evidence string) error {
	if n.created == 0 {
		return nil // it had none when it was read: its node may be forgotten by now
	}
	tr, err := r.table.endSession(n, evidence, r.now())
	if err != nil {
		return err
	}
	// The evidence is about the witness on record, which may have been replaced.
	tr.when = append(tr.when, asRead(r.keys.node(n.Session), n.revision))
	if _, err := r.commit(ctx, tr); err != nil {
		return fmt.Errorf("end the session of node %s: %w", n.Name, err)
	}
	return nil
}

func (t table) endSession(n Node, evidence string, now time.Time) (transition, error) {
	node, err := t.proveDeath(n, evidence, now)
	if err != nil {
		return transition{}, err
	}
	key := t.k.session(n.Session)
	return transition{
		name:    "end session " + n.Session,
		alone:   true,
		when:    []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", n.created)},
		then:    []clientv3.Op{remove(key), node},
		applied: func(view) bool { return false },
	}, nil
}

// proveDeath notes the evidence where those find it who take over.
func (t table) proveDeath(n Node, evidence string, now time.Time) (clientv3.Op, error) {
	next := n.value
	next.Evidence, next.EndedAt = evidence, now
	value, err := encode(next)
	if err != nil {
		return clientv3.Op{}, fmt.Errorf("encode the end of session %s: %w", n.Session, err)
	}
	return put(t.k.node(n.Session), string(value)), nil
}

// testify notes the evidence for a node whose session was over before. If the
// node holds nothing any more, it is forgotten, and nobody needs it.
func (t table) testify(n Node, evidence string, now time.Time) (transition, error) {
	node, err := t.proveDeath(n, evidence, now)
	if err != nil {
		return transition{}, err
	}
	return transition{
		name:    "testify to the end of node " + n.Session,
		alone:   true,
		when:    []clientv3.Cmp{asRead(t.k.node(n.Session), n.revision), absent(t.k.session(n.Session))},
		then:    []clientv3.Op{node},
		applied: func(view) bool { return false },
	}, nil
}

// endDetached deletes a session that is on no lease, so that what it holds can
// be taken over. That proves nothing about its node.
func (t table) endDetached(n Node) transition {
	key := t.k.session(n.Session)
	return transition{
		name:  "end detached session " + n.Session,
		alone: true,
		when: []clientv3.Cmp{
			clientv3.Compare(clientv3.CreateRevision(key), "=", n.created),
			clientv3.Compare(clientv3.LeaseValue(key), "=", 0),
		},
		then:      []clientv3.Op{remove(key)},
		otherwise: []clientv3.Op{get(key)},
		// That it is gone is all that anybody wanted, whoever did it.
		applied: func(v view) bool { return v[key] == nil },
	}
}

// forgetNode drops a node from the roster once its session is gone and it
// holds nothing. No claim can come back: each is conditioned on the session.
func (t table) forgetNode(sid string) transition {
	return transition{
		name: "forget session " + sid, alone: true,
		when: []clientv3.Cmp{
			absent(t.k.session(sid)),
			clientv3.Compare(clientv3.CreateRevision(t.k.claims(sid)).WithPrefix(), "=", 0),
		},
		then:    []clientv3.Op{remove(t.k.node(sid))},
		applied: func(view) bool { return false },
	}
}
