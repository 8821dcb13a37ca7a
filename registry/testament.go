package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/drover-run/drover/lease"
)

// Testament is what a node leaves with its witness: all that is needed to say
// in etcd that the node is dead, when it is. It holds no secret. Its JSON is for
// the same version of this package.
type Testament struct {
	Namespace string `json:"namespace"`
	Session   string `json:"session"`
	// Created is the CreateRevision of the session's key, and Recorded the
	// ModRevision of the node's.
	Created  int64           `json:"created"`
	Recorded int64           `json:"recorded"`
	Record   json.RawMessage `json:"record"` // the value of the node's key
}

// Testament returns what the node of this session leaves as things stand. It
// changes with [Registry.RecordWitness].
func (r *Registry) Testament(s *Session) (Testament, error) {
	s.mu.Lock()
	n := s.record
	s.mu.Unlock()
	record, err := encode(n.value)
	if err != nil {
		return Testament{}, fmt.Errorf("the testament of session %s: %w", s.ID(), err)
	}
	return Testament{
		Namespace: r.options.Namespace, Session: s.ID(), Created: n.created, Recorded: n.revision, Record: record,
	}, nil
}

// Execute ends the session on proof of its node's death, which evidence tells
// in words, and says whether the session stood until then. Of one that was
// over it notes that its node is dead, as long as that is of interest. It is
// for a process that has no [Registry], and may be called again if it was not
// answered: an error that is [ErrDenied] will be the same then, others need not.
func (t Testament) Execute(ctx context.Context, client *clientv3.Client, evidence string, at time.Time) (ended bool, err error) {
	n, err := t.node()
	if err != nil {
		return false, err
	}
	tb := table{newKeys(t.Namespace)}
	end, err := tb.endSession(n, evidence, at)
	if err != nil {
		return false, err
	}
	note, err := tb.testify(n, evidence, at)
	if err != nil {
		return false, err
	}
	for _, tr := range []transition{end, note} {
		resp, err := client.Txn(ctx).If(tr.when...).Then(tr.then...).Commit()
		if err != nil {
			return false, fmt.Errorf("%s: %w", tr.name, explain(err))
		}
		if resp.Succeeded {
			return tr.name == end.name, nil
		}
	}
	return false, nil
}

func (t Testament) node() (Node, error) {
	n := Node{Session: t.Session, created: t.Created, revision: t.Recorded}
	if err := json.Unmarshal(t.Record, &n.value); err != nil {
		return Node{}, fmt.Errorf("read the testament of session %s: %w", t.Session, err)
	}
	return n, nil
}

// Request is what Execute asks of etcd while the session stands, as an encoded
// etcdserverpb.TxnRequest, for a process that can't even link etcd's client. It
// may be sent beside Execute, before or after it.
func (t Testament) Request(evidence string, at time.Time) ([]byte, error) {
	n, err := t.node()
	if err != nil {
		return nil, err
	}
	tr, err := table{newKeys(t.Namespace)}.endSession(n, evidence, at)
	if err != nil {
		return nil, err
	}
	request := &etcdserverpb.TxnRequest{}
	for i := range tr.when {
		request.Compare = append(request.Compare, tr.when[i].GetCompare())
	}
	for _, op := range tr.then {
		request.Success = append(request.Success, asRequest(op))
	}
	content, err := proto.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode the end of session %s: %w", t.Session, err)
	}
	return content, nil
}

// asRequest is for a write of one key.
func asRequest(op clientv3.Op) *etcdserverpb.RequestOp {
	if op.IsDelete() {
		return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestDeleteRange{
			RequestDeleteRange: &etcdserverpb.DeleteRangeRequest{Key: op.KeyBytes()},
		}}
	}
	return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{
		RequestPut: &etcdserverpb.PutRequest{Key: op.KeyBytes(), Value: op.ValueBytes()},
	}}
}

// RecordWitness puts another witness on the node's record: the node counts as
// dead only when both are. What is started through a witness that is not on
// record could outlive its node unnoticed. If the session is over, the error is
// [lease.ErrLost].
func (r *Registry) RecordWitness(ctx context.Context, s *Session, witness lease.Identity) error {
	s.mu.Lock()
	next, seen := s.record.value, s.record.revision
	s.mu.Unlock()
	next.Witness = witness
	key := r.keys.node(s.ID())
	for {
		tr, err := r.table.recordNode(s.holder(), seen, next)
		if err != nil {
			return err
		}
		a, err := r.commit(ctx, tr)
		switch now := a.view.modRevision(key); {
		case err != nil:
			return fmt.Errorf("record the witness of node %s: %w", s.node, err)
		case a.applied:
			s.mu.Lock()
			s.record.value, s.record.revision = next, now
			s.mu.Unlock()
			return nil
		case now == seen || now == 0 || a.view[s.Key()] == nil:
			return fmt.Errorf("record the witness of node %s: %w: %w", s.node, lease.ErrLost, errors.Join(s.Err()))
		default:
			// One that was given up as unanswered has landed. This one is newer.
			seen = now
		}
	}
}

// recordNode writes the node's record anew while its session is alive.
func (t table) recordNode(h holder, seen int64, next nodeValue) (transition, error) {
	value, err := encode(next)
	if err != nil {
		return transition{}, fmt.Errorf("encode the record of session %s: %w", h.sid, err)
	}
	key := t.k.node(h.sid)
	return transition{
		name: "record node " + h.sid, alone: true,
		when:      append([]clientv3.Cmp{asRead(key, seen)}, h.alive...),
		then:      []clientv3.Op{put(key, string(value)), get(key)},
		otherwise: []clientv3.Op{get(key), get(t.k.session(h.sid))},
		// Only the node itself and who knows of its death write it.
		applied: func(v view) bool { return v[key] != nil && string(v[key].Value) == string(value) },
	}, nil
}
