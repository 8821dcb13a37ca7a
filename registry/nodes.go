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

	created  int64 // CreateRevision of its session
	revision int64 // ModRevision of its node/ key
	recorded int64 // CreateRevision of that: its session's, unless it was enrolled later
	survived bool  // it is over, and its node holds a later one
	corrupt  error // why that can't be read
	value    nodeValue
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

func (r *Registry) rosterOps(at ...clientv3.OpOption) []clientv3.Op {
	all := append([]clientv3.OpOption{clientv3.WithPrefix()}, at...)
	return []clientv3.Op{
		clientv3.OpGet(r.keys.node(""), all...), clientv3.OpGet(r.keys.session(""), all...),
	}
}

// parseRoster puts node/ and session/ together. One that can't be read still
// counts with what its key says, so that its claims are found.
func (r *Registry) parseRoster(nodes, sessions []*mvccpb.KeyValue) []Node {
	var roster []Node
	at := map[string]int{}
	for _, kv := range nodes {
		n := Node{Session: last(string(kv.Key)), revision: kv.ModRevision, recorded: kv.CreateRevision}
		if err := json.Unmarshal(kv.Value, &n.value); err != nil {
			n.value, n.corrupt = nodeValue{}, &CorruptError{Key: string(kv.Key), Why: err}
		}
		n.Name, n.Process, n.Witness = n.value.Name, n.value.Process, n.value.Witness
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
	findSurvivors(roster)
	return roster
}

// proof is the evidence that the node is dead; without Proof if there is none.
func (n Node) proof() Evidence {
	return Evidence{
		What: EvidenceDeath, Node: n.Name, Session: n.Session, Proof: n.value.Evidence, At: n.value.EndedAt,
	}
}

// EndDeadSessions ends sessions that are over but whose keys stand: those that
// somebody detached from their leases, and, as the kernel knows, those of nodes
// on this host that are gone, with their witnesses. Of those whose sessions
// were over before it notes that the nodes are dead. dying says that a node is
// gone and its witness is not yet: ask again soon.
func (r *Registry) EndDeadSessions(ctx context.Context) (ended int, dying bool, err error) {
	all, err := r.roster(ctx)
	if err != nil {
		return 0, false, err
	}
	done, err := r.endDead(ctx, all)
	return done.ended, done.dying, err
}

// burials are what was done about nodes that are dead.
type burials struct {
	ended   int
	changed bool // the roster is not any more as it was read
	dying   bool
}

func (r *Registry) endDead(ctx context.Context, all []Node) (done burials, err error) {
	var failed []error
	for _, n := range all {
		if n.created != 0 && !n.Alive {
			// Nobody can adopt what it holds while its key stands.
			_, err := r.commit(ctx, r.table.endDetached(n))
			failed, done.changed = append(failed, err), true
			continue
		}
		failed = append(failed, r.endIfDead(ctx, n, &done))
	}
	return done, errors.Join(failed...)
}

// endIfDead asks the kernel.
func (r *Registry) endIfDead(ctx context.Context, n Node, done *burials) error {
	if n.value.Evidence != "" {
		return nil // it is known
	}
	evidence, gone := n.Process.Gone()
	if !gone {
		return nil
	}
	// Until the witness is gone, what the node had started may run.
	if n.Witness.PID != 0 {
		if _, gone = n.Witness.Gone(); !gone {
			done.dying = true
			return nil
		}
	}
	done.changed = true
	if n.Alive {
		err := r.EndSession(ctx, n, evidence)
		if err == nil {
			done.ended++
		}
		return err
	}
	tr, err := r.table.testify(n, evidence, r.now())
	if err == nil {
		_, err = r.commit(ctx, tr)
	}
	return err
}
