package registry

import (
	"context"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// patient is all that stands about one process, as it was at one revision.
type patient struct {
	id     string
	keys   []string // that were read, but for those of claims
	view   view
	row    *row // nil if there is none, or none that can be read
	why    error
	places []string           // that follow from the row and are there
	strays []*mvccpb.KeyValue // places that do not follow from it
	claims []*mvccpb.KeyValue
	steps  *mvccpb.KeyValue // the first one
	hinted bool
	// living holds the sessions that are alive, known those in the roster.
	living, known map[string]bool
}

// diagnosis is a finding and what puts it right, if anything does.
type diagnosis struct {
	Finding
	repair *transition
}

// mostRepairs bounds how often a process is examined again after a repair.
const mostRepairs = 20

// examine looks at a process as it is now, because of a key that may be wrong.
func (c *checkup) examine(ctx context.Context, id, key string) error {
	if !slices.Contains(c.suspects[id], key) {
		c.suspects[id] = append(c.suspects[id], key)
	}
	for range mostRepairs {
		p, err := c.look(ctx, id)
		if err != nil {
			return err
		}
		all, err := c.judge(p)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(d diagnosis) bool { return d.repair != nil })
		if i < 0 || !c.repair {
			for _, d := range all {
				d.ID, d.Repairable = id, d.repair != nil
				if err := c.tell(d.Finding); err != nil {
					return err
				}
			}
			return nil
		}
		a, err := c.r.commit(ctx, *all[i].repair)
		if err != nil {
			return err
		}
		if a.applied {
			f := all[i].Finding
			f.ID, f.Repairable, f.Repaired = id, true, true
			if err := c.tell(f); err != nil {
				return err
			}
		}
		// It is looked at again, as it has changed or somebody else was faster.
	}
	return nil
}

// look reads a process with all that stands about it. What there is to read
// follows from the row, so the row must not have changed meanwhile.
func (c *checkup) look(ctx context.Context, id string) (patient, error) {
	k := c.r.keys
	for {
		resp, err := c.r.read(ctx, append(c.r.rosterOps(), get(k.process(id)))...)
		if err != nil {
			return patient{}, err
		}
		nodes := c.r.parseRoster(resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs)
		p := patient{id: id, living: map[string]bool{}, known: map[string]bool{}}
		before := newView(resp.Responses[2:])[k.process(id)]
		if before != nil {
			there, err := decodeRow(k.process(id), id, before.Value)
			if p.why = err; err == nil {
				p.row = &there
			}
		}
		p.keys = c.keysAround(p)
		keys := slices.Clone(p.keys)
		for _, n := range nodes {
			p.known[n.Session], p.living[n.Session] = true, n.created != 0
			keys = append(keys, k.claim(n.Session, id))
		}
		for _, n := range c.strangers {
			keys = append(keys, k.claim(n.Session, id))
		}
		if err := c.fill(ctx, &p, keys); err != nil {
			return patient{}, err
		}
		if revision := p.view.modRevision(k.process(id)); before == nil && revision == 0 || before != nil && revision == before.ModRevision {
			c.sort(&p)
			return p, nil
		}
	}
}

// keysAround is every key that may stand about a process, but for claims.
func (c *checkup) keysAround(p patient) []string {
	k := c.r.keys
	keys := []string{
		k.process(p.id), k.input(p.id), k.output(p.id), k.request(p.id), k.progress(p.id), k.parked(p.id),
	}
	keys = append(keys, c.suspects[p.id]...)
	if p.row != nil {
		keys = append(keys, c.r.table.waitingPlaces(*p.row)...)
		if !p.row.DeadlineAt.IsZero() {
			keys = append(keys, k.deadline(*p.row))
		}
	}
	return keys
}

// fill reads keys, and what can't be named, at one revision.
func (c *checkup) fill(ctx context.Context, p *patient, keys []string) error {
	slices.Sort(keys)
	ops := []clientv3.Op{clientv3.OpGet(c.r.keys.steps(p.id), clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly())}
	if p.row != nil && p.row.ended() {
		ops = append(ops, clientv3.OpGet(c.r.keys.hintsOf(*p.row), clientv3.WithPrefix(), clientv3.WithLimit(1)))
	}
	apart := len(ops)
	for _, key := range slices.Compact(keys) {
		ops = append(ops, get(key))
	}
	p.view = view{}
	for batch := range slices.Chunk(ops, maxOps) {
		resp, err := c.r.read(ctx, batch...)
		if err != nil {
			return err
		}
		for key, kv := range newView(resp.Responses[apart:]) {
			p.view[key] = kv
		}
		if apart > 0 {
			if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
				p.steps = kvs[0]
			}
			p.hinted = apart > 1 && len(resp.Responses[1].GetResponseRange().Kvs) > 0
		}
		apart = 0
	}
	return nil
}

// sort tells places from strays and claims.
func (c *checkup) sort(p *patient) {
	k := c.r.keys
	var follow []string
	if p.row != nil && !p.row.ended() {
		follow = c.r.table.places(*p.row)
	}
	for _, key := range slices.Sorted(maps.Keys(p.view)) {
		area, rest, _ := strings.Cut(strings.TrimPrefix(key, k.root), "/")
		kv := p.view[key]
		switch {
		case area == "claim":
			p.claims = append(p.claims, kv)
		case area == "pending" || area == "parked" || area == "timer" && !strings.HasSuffix(rest, "/"+dueDeadline):
			if slices.Contains(follow, key) && (area != "timer" || string(kv.Value) == k.pending(p.row.entry())) {
				p.places = append(p.places, key)
			} else {
				p.strays = append(p.strays, kv)
			}
		}
	}
}

// holder is the session of a claim.
func (p patient) holder(k keys, claim *mvccpb.KeyValue) string {
	sid, _, _ := strings.Cut(strings.TrimPrefix(string(claim.Key), k.root+"claim/"), "/")
	return sid
}

// asRead are the conditions that nothing of all that was read has changed. Of
// claims those are meant that are there: none is made but out of a place.
func (p patient) asRead() []clientv3.Cmp {
	keys := slices.AppendSeq(slices.Clone(p.keys), maps.Keys(p.view))
	slices.Sort(keys)
	var conditions []clientv3.Cmp
	for _, key := range slices.Compact(keys) {
		conditions = append(conditions, asRead(key, p.view.modRevision(key)))
	}
	return conditions
}
