package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Peer is a living session, with what its node says that it claims.
type Peer struct {
	Session  string
	Queues   []string
	Kinds    []string
	Max      int  // processes at a time
	Draining bool // it claims nothing any more

	revision int64 // of the record
}

// Newer says whether p tells more than other, which is of the same session.
func (p Peer) Newer(other Peer) bool { return p.revision > other.revision }

// After says whether the record of p was written after the revision.
func (p Peer) After(revision int64) bool { return p.revision > revision }

// peer reads the record of a session. One on no lease is dead. One that
// can't be read claims nothing, as far as others know.
func peer(kv *mvccpb.KeyValue) (p Peer, alive bool) {
	p = Peer{Session: last(string(kv.Key)), revision: kv.ModRevision}
	var v sessionValue
	if json.Unmarshal(kv.Value, &v) == nil {
		p.Queues, p.Kinds, p.Max, p.Draining = v.Queues, v.Kinds, v.Max, v.Draining
	}
	return p, kv.Lease != 0
}

// says is what stands in session/<sid>.
func (n NodeInfo) says(since time.Time) sessionValue {
	return sessionValue{
		Node: n.Name, Address: n.Address, Queues: n.Queues, Kinds: n.Kinds, Max: n.Max,
		Version: n.Version, Since: since,
	}
}

// Drain tells the other nodes that this one claims nothing any more, so that
// they don't leave to it what it would be the first to take. Nothing depends on
// it but how soon others take that. The errors are those of
// [lease.Session.Put].
func (r *Registry) Drain(ctx context.Context, s *Session) error {
	v := s.said
	v.Draining = true
	value, err := encode(v)
	if err != nil {
		return fmt.Errorf("encode the record of session %s: %w", s.ID(), err)
	}
	return s.Put(ctx, value)
}

// Survey is what the roster said at one moment, after what is provably over
// was ended.
type Survey struct {
	Peers    []Peer // the living
	Revision int64  // at which that was so
	Ended    int    // sessions that were ended on proof
	// Dying: a node is gone and its witness is not yet; ask again soon.
	Dying bool
	// Failed is why something that is over could not be ended. It is no reason
	// to leave the rest alone.
	Failed error

	nodes []Node
}

// Survey does what [Registry.EndDeadSessions] does and says who lives. What
// that could not end is told in the survey: an error is that there is none.
func (r *Registry) Survey(ctx context.Context) (Survey, error) {
	s, err := r.lookAtRoster(ctx)
	if err != nil {
		return Survey{}, err
	}
	done, failed := r.endDead(ctx, s.nodes)
	if done.changed {
		if s, err = r.lookAtRoster(ctx); err != nil {
			return Survey{}, errors.Join(failed, err)
		}
	}
	s.Ended, s.Dying, s.Failed = done.ended, done.dying, failed
	return s, nil
}

func (r *Registry) lookAtRoster(ctx context.Context) (Survey, error) {
	resp, err := r.read(ctx, r.rosterOps()...)
	if err != nil {
		return Survey{}, fmt.Errorf("read the roster: %w", err)
	}
	nodes, sessions := resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs
	s := Survey{Revision: resp.Header.Revision, nodes: r.parseRoster(nodes, sessions)}
	for _, kv := range sessions {
		if p, alive := peer(kv); alive {
			s.Peers = append(s.Peers, p)
		}
	}
	return s, nil
}
