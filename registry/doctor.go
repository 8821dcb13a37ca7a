package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// CheckOptions says what Check is to do.
type CheckOptions struct {
	// Repair what needs no guess.
	Repair bool
}

// Finding is one thing that is not as it should be.
type Finding struct {
	Key  string `json:"key"`
	ID   string `json:"id,omitempty"` // of the process that it is about
	What string `json:"what"`         // is wrong
	// Advice is what a person can do about it, where no repair is possible.
	Advice     string `json:"advice,omitempty"`
	Repairable bool   `json:"repairable,omitempty"`
	Repaired   bool   `json:"repaired,omitempty"`
}

// CheckReport sums a check up.
type CheckReport struct {
	Revision int64 `json:"revision"` // at which the keys were read, last
	Keys     int   `json:"keys"`     // that were looked at
	Findings int   `json:"findings"`
	Repaired int   `json:"repaired"`
}

// Check looks at every key of the namespace and calls found with whatever is
// not as drover leaves it: what others wrote or deleted, or a fault of its own.
// What seems wrong is read once more, as it is now, before it is called so: a
// registry that works is not found wrong because things move.
//
// With Repair, what needs no guess is put right, each thing in one transaction
// that is conditioned on all that was read of it. Check may be run at any time,
// by anybody. An error of found ends it and is returned.
func (r *Registry) Check(ctx context.Context, o CheckOptions, found func(Finding) error) (CheckReport, error) {
	c := checkup{r: r, repair: o.Repair, found: found, told: map[string]bool{}, suspects: map[string][]string{}}
	if err := c.run(ctx); err != nil {
		return c.report, fmt.Errorf("check: %w", err)
	}
	return c.report, nil
}

// checkPage is how many keys are read in one request.
const checkPage = 500

// checkup is one Check under way. The keys of one process are far apart, so
// each page is held against the rows that it speaks of, at the same revision.
// Nothing is kept from page to page but what is wrong.
type checkup struct {
	r      *Registry
	repair bool
	found  func(Finding) error
	report CheckReport
	nodes  []Node
	// strangers are sessions that hold claims and are not in the roster.
	strangers []Node
	suspects  map[string][]string // keys, by process
	told      map[string]bool     // findings, by key and what
}

// part is one part of the layout and how its keys are looked at.
type part struct {
	name string
	// bare: the values are not needed, and may be large.
	bare bool
	look func(context.Context, []*mvccpb.KeyValue) error
}

// parts is the layout. The rows come last: what claims them to be elsewhere is
// known by then.
func (c *checkup) parts() []part {
	return []part{
		{"claim/", false, c.claims},
		{"depth/", true, c.names},
		{"done/", false, c.hints},
		{"input/", true, c.beside},
		{"node/", false, c.roster},
		{"output/", true, c.beside},
		{"parked/", true, c.beside},
		{"pending/", true, c.beside},
		{"poke/", true, c.names},
		{"progress/", true, c.beside},
		{"queue/", false, c.gates},
		{"request/", true, c.beside},
		{"session/", false, c.roster},
		{"step/", true, c.beside},
		{"timer/", false, c.beside},
		{"process/", false, c.rows},
	}
}

func (c *checkup) run(ctx context.Context) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	root := c.r.keys.root
	parts := c.parts()
	for _, p := range parts {
		if err := c.walk(ctx, root+p.name, upTo(root+p.name), p); err != nil {
			return err
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return strings.Compare(a.name, b.name) })
	between := part{bare: true, look: c.foreign}
	from := root
	for _, p := range parts {
		if err := c.walk(ctx, from, root+p.name, between); err != nil {
			return err
		}
		from = upTo(root + p.name)
	}
	return c.walk(ctx, from, upTo(root), between)
}

// begin fixes the revision at which the keys are read.
func (c *checkup) begin(ctx context.Context) error {
	resp, err := c.r.read(ctx, c.r.rosterOps()...)
	if err != nil {
		return err
	}
	c.report.Revision = resp.Header.Revision
	c.nodes = c.r.parseRoster(resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs)
	return nil
}

func (c *checkup) at() clientv3.OpOption { return clientv3.WithRev(c.report.Revision) }

// walk looks at a range, page by page. A revision that is compacted meanwhile
// is exchanged for the present one: it only has to be one for each page.
func (c *checkup) walk(ctx context.Context, from, end string, p part) error {
	for more := true; more; {
		opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(checkPage), c.at()}
		if p.bare {
			opts = append(opts, clientv3.WithKeysOnly())
		}
		resp, err := c.r.read(ctx, clientv3.OpGet(from, opts...))
		var kvs []*mvccpb.KeyValue
		if err == nil {
			kvs, more = resp.Responses[0].GetResponseRange().Kvs, resp.Responses[0].GetResponseRange().More
			err = p.look(ctx, kvs)
		}
		if errors.Is(err, ErrCompacted) {
			if err = c.begin(ctx); err == nil {
				more = true
				continue
			}
		}
		if err != nil {
			return err
		}
		c.report.Keys += len(kvs)
		if n := len(kvs); n > 0 {
			from = string(kvs[n-1].Key) + "\x00"
		}
	}
	return nil
}

// tell reports a finding, once.
func (c *checkup) tell(f Finding) error {
	if mark := f.Key + "\x00" + f.What; c.told[mark] {
		return nil
	} else if !f.Repaired {
		c.told[mark] = true
	}
	c.report.Findings++
	if f.Repaired {
		c.report.Repaired++
	}
	return c.found(f)
}

// suspect reports what is wrong with a key that belongs to no process, if it
// still is as it was, and repairs it if there is a way.
func (c *checkup) suspect(ctx context.Context, kv *mvccpb.KeyValue, f Finding, repair *transition) error {
	f.Key = string(kv.Key)
	resp, err := c.r.read(ctx, clientv3.OpGet(f.Key, clientv3.WithKeysOnly()))
	if err != nil {
		return err
	}
	if newView(resp.Responses).modRevision(f.Key) != kv.ModRevision {
		return nil
	}
	if f.Repairable = repair != nil; f.Repairable && c.repair {
		a, err := c.r.commit(ctx, *repair)
		if err != nil {
			return err
		}
		f.Repaired = a.applied
	}
	return c.tell(f)
}

const adviceForeign = "drover did not write it and does not look at it; delete it with etcdctl if it is nobody's"

func (c *checkup) foreign(ctx context.Context, kvs []*mvccpb.KeyValue) error {
	for _, kv := range kvs {
		if string(kv.Key) == c.r.keys.root {
			continue
		}
		err := c.suspect(ctx, kv, Finding{What: "a key of no form that drover knows", Advice: adviceForeign}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// name takes a name out of a key that ends in one.
func (c *checkup) name(kv *mvccpb.KeyValue) (string, bool) {
	rest := strings.TrimPrefix(string(kv.Key), c.r.keys.root)
	_, name, _ := strings.Cut(rest, "/")
	return name, checkName("name", name) == nil
}

func (c *checkup) names(ctx context.Context, kvs []*mvccpb.KeyValue) error {
	return c.foreign(ctx, slices.DeleteFunc(slices.Clone(kvs), func(kv *mvccpb.KeyValue) bool {
		_, ok := c.name(kv)
		return ok
	}))
}
