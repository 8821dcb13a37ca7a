package registry

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Health is how the registry and the etcd under it are.
type Health struct {
	// Reachable: etcd answers, with a quorum. If it does not, nothing else is
	// known but what single members say.
	Reachable bool     `json:"reachable"`
	Leader    string   `json:"leader,omitempty"` // the name of the member that leads, or its id
	Members   []Member `json:"members"`
	Alarms    []string `json:"alarms,omitempty"`
	// Full: nothing new is started as etcd is nearly full, see [ErrFull].
	Full  bool   `json:"full,omitempty"`
	Nodes []Node `json:"nodes"`
	// Orphans are what nodes left behind whose sessions are over. Those that
	// can be are taken over at once.
	Orphans []Left       `json:"orphans,omitempty"`
	Queues  []QueueState `json:"queues"`
	// Unknown is what could not be found out, with the reason: mostly that the
	// etcd user may not ask for it.
	Unknown []string `json:"unknown,omitempty"`
	// Problems says in words what is wrong; empty if all is well.
	Problems []string `json:"problems,omitempty"`
}

// Member is one etcd server, as the endpoint says that it is asked at.
type Member struct {
	Endpoint string `json:"endpoint"`
	ID       string `json:"id,omitempty"` // hexadecimal
	Name     string `json:"name,omitempty"`
	Version  string `json:"version,omitempty"`
	Leads    bool   `json:"leads,omitempty"`
	// Size is that of the database's file, InUse what of it holds data, Quota
	// what the file may grow to, all in bytes. Quota is 0 if it is not known.
	Size  int64 `json:"db_size,omitempty"`
	InUse int64 `json:"db_in_use,omitempty"`
	Quota int64 `json:"db_quota,omitempty"`
	// Error is why it does not answer.
	Error string `json:"error,omitempty"`

	leader uint64
}

// Left is what one node left behind.
type Left struct {
	Node    string `json:"node"`
	Session string `json:"session"`
	Count   int    `json:"count"`
}

// Health asks for all that tells whether drover can work. What is wrong, an
// etcd that does not answer included, is in Problems and no error: that is only
// that ctx has ended.
func (r *Registry) Health(ctx context.Context) (Health, error) {
	var h Health
	var asking sync.WaitGroup
	asking.Go(func() { h.Members = r.members(ctx) })
	resp, err := r.read(ctx, get(r.keys.full()))
	asking.Wait()
	if h.Reachable = err == nil; !h.Reachable {
		h.problem("the registry can't be read: %v", err)
	} else {
		if kv := newView(resp.Responses)[r.keys.full()]; kv != nil {
			h.Full = true
			h.problem("%v", readFull(kv).refusal())
		}
		r.names(ctx, &h)
		r.alarms(ctx, &h)
		r.herd(ctx, &h)
	}
	h.judgeMembers()
	h.judgeHerd()
	if ctx.Err() != nil {
		return h, fmt.Errorf("ask how etcd is: %w", context.Cause(ctx))
	}
	return h, nil
}

func (h *Health) problem(format string, args ...any) {
	h.Problems = append(h.Problems, fmt.Sprintf(format, args...))
}

func (h *Health) unknown(what string, err error) {
	h.Unknown = append(h.Unknown, fmt.Sprintf("%s: %v", what, explain(err)))
}

// members asks each endpoint, at the same time.
func (r *Registry) members(ctx context.Context) []Member {
	endpoints := r.client.Endpoints()
	if len(endpoints) == 0 {
		endpoints = []string{""} // an etcd in this very process
	}
	members := make([]Member, len(endpoints))
	var asking sync.WaitGroup
	for i, endpoint := range endpoints {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, r.options.RequestTimeout)
			defer cancel()
			m := &members[i]
			m.Endpoint = endpoint
			s, err := r.client.Status(ctx, endpoint)
			if err != nil {
				m.Error = explain(err).Error()
				return
			}
			m.ID, m.leader = strconv.FormatUint(s.Header.MemberId, 16), s.Leader
			m.Version, m.Leads = s.Version, s.Leader == s.Header.MemberId
			m.Size, m.InUse, m.Quota = s.DbSize, s.DbSizeInUse, s.DbSizeQuota
		})
	}
	asking.Wait()
	return members
}

// names finds out what the members are called.
func (r *Registry) names(ctx context.Context, h *Health) {
	ctx, cancel := context.WithTimeout(ctx, r.options.RequestTimeout)
	defer cancel()
	resp, err := r.client.MemberList(ctx)
	if err != nil {
		h.unknown("the names of the members", err)
		return
	}
	for _, known := range resp.Members {
		for i := range h.Members {
			if h.Members[i].ID == strconv.FormatUint(known.ID, 16) {
				h.Members[i].Name = known.Name
			}
		}
	}
}

func (r *Registry) alarms(ctx context.Context, h *Health) {
	ctx, cancel := context.WithTimeout(ctx, r.options.RequestTimeout)
	defer cancel()
	resp, err := r.client.AlarmList(ctx)
	if err != nil {
		h.unknown("alarms", err)
		return
	}
	for _, a := range resp.Alarms {
		h.Alarms = append(h.Alarms, a.Alarm.String())
		switch a.Alarm {
		case etcdserverpb.AlarmType_NOSPACE:
			h.problem("etcd is out of space and refuses writes: make room (compact, defragment), then disarm the alarm with etcdctl")
		default:
			h.problem("etcd has raised the alarm %s", a.Alarm)
		}
	}
	slices.Sort(h.Alarms)
	h.Alarms = slices.Compact(h.Alarms)
}

// herd looks at nodes, what they left behind, and queues.
func (r *Registry) herd(ctx context.Context, h *Health) {
	var err error
	if h.Nodes, err = r.Nodes(ctx); err != nil {
		h.problem("the nodes can't be read: %v", err)
	}
	if h.Orphans, err = r.left(ctx); err != nil {
		h.problem("orphans can't be counted: %v", err)
	}
	if h.Queues, err = r.Queues(ctx); err != nil {
		h.problem("the queues can't be counted: %v", err)
	}
}

// left counts the claims of every session that is over.
func (r *Registry) left(ctx context.Context) ([]Left, error) {
	all, err := r.roster(ctx)
	if err != nil {
		return nil, err
	}
	dead := slices.DeleteFunc(all, func(n Node) bool { return n.Alive })
	var left []Left
	for batch := range slices.Chunk(dead, maxOps) {
		ops := make([]clientv3.Op, len(batch))
		for i, n := range batch {
			ops[i] = clientv3.OpGet(r.keys.claims(n.Session), clientv3.WithPrefix(), clientv3.WithCountOnly())
		}
		resp, err := r.read(ctx, ops...)
		if err != nil {
			return nil, err
		}
		for i, n := range batch {
			if count := int(resp.Responses[i].GetResponseRange().Count); count > 0 {
				left = append(left, Left{Node: n.Name, Session: n.Session, Count: count})
			}
		}
	}
	return left, nil
}

func (h *Health) judgeMembers() {
	for _, m := range h.Members {
		switch {
		case m.Error != "":
			h.problem("the etcd at %s does not answer: %s", m.Endpoint, m.Error)
		case m.leader == 0:
			h.problem("the etcd at %s has no leader", m.Endpoint)
		case m.fills() >= fullPercent:
			h.problem("the data of the etcd at %s fills %d %% of its quota: prune, or raise the quota", m.Endpoint, m.fills())
		case m.Quota > 0 && m.Size*100 >= m.Quota*fullPercent: // which etcd counts, also what is free of it
			h.problem("the file of the etcd at %s fills %d %% of its quota, its data %d %%: defragment it", m.Endpoint, m.Size*100/m.Quota, m.fills())
		}
		if h.Leader == "" && m.leader != 0 {
			h.Leader = strconv.FormatUint(m.leader, 16)
		}
	}
	for _, m := range h.Members {
		if m.ID != "" && m.ID == h.Leader && m.Name != "" {
			h.Leader = m.Name
		}
	}
}

func (h *Health) judgeHerd() {
	for _, left := range h.Orphans {
		h.problem("%d processes of node %s, whose session is over, are orphans", left.Count, left.Node)
	}
	served := map[string]bool{}
	for _, n := range h.Nodes {
		for _, queue := range n.Queues {
			served[queue] = true
		}
	}
	for _, q := range h.Queues {
		if q.Pending > 0 && !q.Paused && !served[q.Name] {
			h.problem("%d processes are pending in the queue %s, which no node serves", q.Pending, q.Name)
		}
	}
}
