package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease"
)

// Node is one incarnation of a node, as the roster has it.
type Node struct {
	Name    string    `json:"name"`
	Session string    `json:"session"`
	Queues  []string  `json:"queues"`
	Running int       `json:"running"`
	Max     int       `json:"max"`
	Since   time.Time `json:"since,omitzero"`
	Version string    `json:"version,omitempty"`
	Address string    `json:"address,omitempty"`
	// Alive: its session is there. A node that is not alive is in the roster
	// until its claims are taken over.
	Alive bool `json:"-"`
	// Process and Witness are what the kernel is asked about.
	Process lease.Identity `json:"-"`
	Witness lease.Identity `json:"-"`

	created int64 // CreateRevision of its session
	value   nodeValue
}

// Nodes lists the living nodes by name, with how much each runs.
func (r *Registry) Nodes(ctx context.Context) ([]Node, error) {
	all, err := r.roster(ctx)
	if err != nil {
		return nil, err
	}
	alive := slices.DeleteFunc(all, func(n Node) bool { return !n.Alive })
	for batch := range slices.Chunk(alive, maxOps) {
		ops := make([]clientv3.Op, len(batch))
		for i, n := range batch {
			ops[i] = clientv3.OpGet(r.keys.claims(n.Session), clientv3.WithPrefix(), clientv3.WithCountOnly())
		}
		resp, err := r.read(ctx, ops...)
		if err != nil {
			return nil, fmt.Errorf("count claims: %w", err)
		}
		for i := range batch {
			batch[i].Running = int(resp.Responses[i].GetResponseRange().Count)
		}
	}
	slices.SortFunc(alive, func(a, b Node) int { return strings.Compare(a.Name+"/"+a.Session, b.Name+"/"+b.Session) })
	return alive, nil
}

// roster lists every incarnation that lives or left claims behind.
func (r *Registry) roster(ctx context.Context) ([]Node, error) {
	resp, err := r.read(ctx, r.rosterOps()...)
	if err != nil {
		return nil, fmt.Errorf("read the roster: %w", err)
	}
	return r.parseRoster(resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs), nil
}

func (r *Registry) rosterOps() []clientv3.Op {
	return []clientv3.Op{
		clientv3.OpGet(r.keys.node(""), clientv3.WithPrefix()),
		clientv3.OpGet(r.keys.session(""), clientv3.WithPrefix()),
	}
}

// parseRoster puts node/ and session/ together. One that can't be read still
// counts with what its key says, so that its claims are found.
func (r *Registry) parseRoster(nodes, sessions []*mvccpb.KeyValue) []Node {
	var roster []Node
	at := map[string]int{}
	for _, kv := range nodes {
		n := Node{Session: last(string(kv.Key))}
		if json.Unmarshal(kv.Value, &n.value) == nil {
			n.Name, n.Process, n.Witness = n.value.Name, n.value.Process, n.value.Witness
		}
		at[n.Session] = len(roster)
		roster = append(roster, n)
	}
	for _, kv := range sessions {
		sid := last(string(kv.Key))
		i, ok := at[sid]
		if !ok {
			i = len(roster)
			roster = append(roster, Node{Session: sid})
		}
		n := &roster[i]
		n.created, n.Alive = kv.CreateRevision, kv.Lease != 0
		var v sessionValue
		if json.Unmarshal(kv.Value, &v) == nil {
			n.Name, n.Queues, n.Max, n.Since, n.Version, n.Address = v.Node, v.Queues, v.Max, v.Since, v.Version, v.Address
		}
	}
	return roster
}

// endDetached deletes a session whose lease was detached, by a plain put on
// its key. It would never expire; its node takes it for lost as well.
func (r *Registry) endDetached(ctx context.Context, n Node) error {
	tr, err := r.table.endSession(n, "its key was on no lease", r.now())
	if err != nil {
		return err
	}
	tr.when = append(tr.when, clientv3.Compare(clientv3.LeaseValue(r.keys.session(n.Session)), "=", 0))
	_, err = r.commit(ctx, tr)
	return err
}

// EndDeadSessions ends sessions that are over but whose keys stand: those that
// somebody detached from their leases, and, as the kernel knows, those of nodes
// on this host that are gone, with their witnesses. dying says
// that one is gone and its witness is not yet: ask again soon.
func (r *Registry) EndDeadSessions(ctx context.Context) (ended int, dying bool, err error) {
	all, err := r.roster(ctx)
	if err != nil {
		return 0, false, err
	}
	var failed []error
	for _, n := range all {
		if n.created != 0 && !n.Alive {
			// Nobody can adopt what it holds while its key stands.
			if err := r.endDetached(ctx, n); err != nil {
				failed = append(failed, err)
			}
			continue
		}
		if !n.Alive {
			continue
		}
		evidence, gone := n.Process.Gone()
		if !gone {
			continue
		}
		// Until the witness is gone, what the node had started may run.
		if n.Witness.PID != 0 {
			if _, gone = n.Witness.Gone(); !gone {
				dying = true
				continue
			}
		}
		if err := r.EndSession(ctx, n, evidence); err != nil {
			failed = append(failed, err)
			continue
		}
		ended++
	}
	return ended, dying, errors.Join(failed...)
}
