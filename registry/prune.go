package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

const (
	// pruneChunk is how many hints are read in one request, and pruning how
	// many rows are deleted at a time.
	pruneChunk = 200
	pruning    = 64
)

// PruneOptions says which processes Prune is to delete.
type PruneOptions struct {
	// Before: those that ended before this. It is required, and held against
	// what the clocks of the nodes said then.
	Before time.Time
	// Outcomes: those that ended so; all if empty.
	Outcomes []Outcome
	// Limit is how many are deleted at the most; 0 is all.
	Limit int
}

func (o PruneOptions) validate() error {
	var errs []error
	if o.Before.IsZero() {
		errs = append(errs, fmt.Errorf("%w: a prune without a time", ErrInvalid))
	}
	if o.Limit < 0 {
		errs = append(errs, fmt.Errorf("%w: a prune with the limit %d", ErrInvalid, o.Limit))
	}
	for _, outcome := range o.Outcomes {
		if !outcome.valid() {
			errs = append(errs, fmt.Errorf("%w: %.40q is not an outcome", ErrInvalid, outcome))
		}
	}
	return errors.Join(errs...)
}

// Prune deletes processes that have ended, with everything that belongs to
// them, and says how many. Afterwards their ids are unknown: a start with one
// is a new process. What it costs depends on how many it deletes, not on how
// many there are. One that is opened again meanwhile is left alone.
//
// Impossible options are an error that wraps [ErrInvalid]. What can't be read
// is passed over: errors of that kind are a [*CorruptError] each, joined.
func (r *Registry) Prune(ctx context.Context, o PruneOptions) (pruned int, err error) {
	if err := o.validate(); err != nil {
		return 0, err
	}
	if len(o.Outcomes) == 0 {
		o.Outcomes = []Outcome{Completed, Failed, Cancelled, Abandoned}
	}
	p := pruner{r: r, limit: o.Limit}
	for _, outcome := range o.Outcomes {
		if err := p.run(ctx, r.keys.ended(outcome), r.keys.ended(outcome)+ordinal(o.Before.UnixNano())); err != nil {
			return int(p.pruned.Load()), fmt.Errorf("prune: %w", err)
		}
	}
	return int(p.pruned.Load()), errors.Join(p.corrupt...)
}

// pruner is one Prune under way. It walks the index, which done/ is: it is in
// the order of the times at which processes ended.
type pruner struct {
	r       *Registry
	limit   int  // 0 is none
	sparing bool // what may not run twice is left
	pruned  atomic.Int64
	corrupt []error
	seen    string // of the index: nothing before it is left to be deleted in this run
}

func (p *pruner) run(ctx context.Context, from, end string) error {
	for more := true; more && !p.enough(); {
		resp, err := p.r.read(ctx, clientv3.OpGet(from, clientv3.WithRange(end), clientv3.WithLimit(pruneChunk)))
		if err != nil {
			return err
		}
		page := resp.Responses[0].GetResponseRange()
		hints := make([]hint, 0, len(page.Kvs))
		for _, kv := range page.Kvs {
			from = string(kv.Key) + "\x00"
			h, err := p.r.keys.readHint(kv)
			if err != nil {
				p.corrupt = append(p.corrupt, err)
				continue
			}
			hints = append(hints, h)
		}
		if err := p.prune(ctx, hints); err != nil {
			return err
		}
		if !p.enough() {
			p.seen = from
		}
		more = page.More
	}
	return nil
}

func (p *pruner) enough() bool { return p.limit > 0 && int(p.pruned.Load()) >= p.limit }

// hint is one key of the index.
type hint struct {
	kv       *mvccpb.KeyValue
	outcome  Outcome
	finished int64 // nanoseconds
	ended    []endedSeries
}

func (k keys) readHint(kv *mvccpb.KeyValue) (hint, error) {
	part := strings.Split(strings.TrimPrefix(string(kv.Key), k.root+"done/"), "/")
	if len(part) != 3 {
		return hint{}, &CorruptError{Key: string(kv.Key), Why: errForeign}
	}
	finished, err := strconv.ParseInt(part[1], 10, 64)
	if err != nil {
		return hint{}, &CorruptError{Key: string(kv.Key), Why: errForeign}
	}
	var value doneValue
	if err := json.Unmarshal(kv.Value, &value); err != nil {
		return hint{}, &CorruptError{Key: string(kv.Key), Why: err}
	}
	return hint{kv: kv, outcome: Outcome(part[0]), finished: finished, ended: value.Ended}, nil
}

// speaksOf says whether the row is at the very end that the hint is of.
func (h hint) speaksOf(e endedSeries, there row) bool {
	return there.ended() && there.Series == e.Series && there.Outcome == h.outcome && there.FinishedAt.UnixNano() == h.finished
}

// prune deletes the rows that hints speak of and then the hints. A hint whose
// row is gone, or has gone on, is of no use to anybody.
func (p *pruner) prune(ctx context.Context, hints []hint) error {
	rows, err := p.rows(ctx, hints)
	if err != nil {
		return err
	}
	room := int64(len(rows))
	if p.limit > 0 {
		room = int64(p.limit) - p.pruned.Load()
	}
	var deleting errgroup.Group
	deleting.SetLimit(pruning)
	for _, h := range hints {
		var doomed []*mvccpb.KeyValue
		keep := false
		for _, e := range h.ended {
			kv := rows[e.ID]
			if kv == nil {
				continue
			}
			there, err := decodeRow(string(kv.Key), e.ID, kv.Value)
			switch {
			case err != nil:
				p.corrupt, keep = append(p.corrupt, err), true
			case h.speaksOf(e, there) && p.sparing && there.spec.Disposition != Rerunnable:
				keep = true
			case h.speaksOf(e, there) && room > 0:
				doomed, room = append(doomed, kv), room-1
			case h.speaksOf(e, there):
				keep = true
			}
		}
		deleting.Go(func() error { return p.delete(ctx, h, doomed, keep) })
	}
	return deleting.Wait()
}

// rows reads the rows of all that hints name.
func (p *pruner) rows(ctx context.Context, hints []hint) (map[string]*mvccpb.KeyValue, error) {
	var ids []string
	for _, h := range hints {
		for _, e := range h.ended {
			ids = append(ids, e.ID)
		}
	}
	return p.r.readRows(ctx, ids)
}

// delete deletes the doomed rows of one hint and then, unless it is to be kept,
// the hint: with the row if there is one, after them if there are more.
func (p *pruner) delete(ctx context.Context, h hint, doomed []*mvccpb.KeyValue, keep bool) error {
	together := len(doomed) == 1 && !keep
	for _, kv := range doomed {
		there, err := decodeRow(string(kv.Key), last(string(kv.Key)), kv.Value)
		if err != nil {
			return err
		}
		tr := p.r.table.prune(kv, there)
		if together {
			tr.then = append(tr.then, remove(string(h.kv.Key)))
		}
		a, err := p.r.commit(ctx, tr)
		if err != nil {
			return err
		}
		if a.applied {
			p.pruned.Add(1)
		} // else it has gone on just now, and the hint is of no use either
	}
	if keep || together {
		return nil
	}
	_, err := p.r.commit(ctx, p.r.table.forgetHint(h))
	return err
}

// prune deletes a row that has ended with everything that is its own. Nothing
// else has to be asked: whoever opens it again writes the row.
func (t table) prune(process *mvccpb.KeyValue, there row) transition {
	key := string(process.Key)
	then := append([]clientv3.Op{
		remove(key), remove(t.k.input(there.ID)), remove(t.k.output(there.ID)), remove(t.k.request(there.ID)),
	}, t.leftovers(there)...)
	if !there.DeadlineAt.IsZero() {
		then = append(then, remove(t.k.deadline(there)))
	}
	return transition{
		name: "prune " + there.ID, id: there.ID,
		when:      []clientv3.Cmp{asRead(key, process.ModRevision)},
		then:      then,
		otherwise: []clientv3.Op{get(key)},
		// That the row is gone is all that anybody wanted, whoever did it.
		applied: func(v view) bool { return v[key] == nil },
	}
}

// forgetHint deletes a hint. Nobody writes one twice.
func (t table) forgetHint(h hint) transition {
	key := string(h.kv.Key)
	tr := transition{
		name: "forget " + key, alone: len(h.ended) == 0,
		when:    []clientv3.Cmp{asRead(key, h.kv.ModRevision)},
		then:    []clientv3.Op{remove(key)},
		applied: func(view) bool { return false },
	}
	if !tr.alone {
		tr.id = h.ended[0].ID
	}
	return tr
}
