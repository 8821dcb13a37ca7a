package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
)

const (
	// starting is how many starts are under way at a time: enough to fill
	// the batches that they travel in.
	starting = 512
	// wholeBatch and wholeBytes bound a batch that is started whole or not at
	// all. A start has four operations at the most, and the larger part of it
	// is the input.
	wholeBatch = maxOps / 4
	wholeBytes = 1 << 20
)

// StartManyOptions says how StartMany goes about it.
type StartManyOptions struct {
	// AllOrNothing: what travels in one batch is started whole or not at all.
	// A batch has up to 30 processes and 1 MiB of input.
	AllOrNothing bool
}

// StartResult is what became of one of many.
type StartResult struct {
	Started
	Err error
}

// ErrBatch says that a process was not started as another of its batch could not be.
var ErrBatch = errors.New("another process of its batch could not be started")

// StartMany starts any number of processes, in batches of bounded size. The
// results are in the order of specs; each is as that of [Registry.Start]. With
// AllOrNothing, those of a batch that was refused because of another one wrap
// [ErrBatch].
func (r *Registry) StartMany(ctx context.Context, specs []Spec, o StartManyOptions) []StartResult {
	results := make([]StartResult, len(specs))
	if o.AllOrNothing {
		r.startWhole(ctx, specs, results)
		return results
	}
	var sending errgroup.Group
	sending.SetLimit(starting)
	for i, s := range specs {
		sending.Go(func() error {
			results[i].Started, results[i].Err = r.Start(ctx, s)
			return nil
		})
	}
	_ = sending.Wait() // each has its own error
	return results
}

// startWhole cuts specs into batches. One that can't be encoded spoils the
// batch that it would be in.
func (r *Registry) startWhole(ctx context.Context, specs []Spec, results []StartResult) {
	encoded, failed := make([]encodedSpec, len(specs)), make([]error, len(specs))
	for i, s := range specs {
		encoded[i], failed[i] = encodeSpec(s, r.options.MaxInput)
	}
	for from := 0; from < len(specs); {
		to, size := from, 0
		for to < len(specs) && to-from < wholeBatch {
			size += len(encoded[to].raw) + len(encoded[to].input)
			if to > from && size > wholeBytes {
				break
			}
			to++
		}
		r.startBatch(ctx, encoded[from:to], failed[from:to], results[from:to])
		from = to
	}
}

func (r *Registry) startBatch(ctx context.Context, specs []encodedSpec, failed []error, results []StartResult) {
	if i := slices.IndexFunc(failed, func(err error) bool { return err != nil }); i >= 0 {
		for j := range results {
			results[j].ID = specs[j].id
			results[j].Err = cmpError(failed[j], fmt.Errorf("%w: %w", ErrBatch, failed[i]))
		}
		return
	}
	if id, twice := repeated(specs); twice {
		refuse(results, fmt.Errorf("start %d processes: %w: two of a batch have the id %s", len(specs), ErrInvalid, id))
		return
	}
	now := r.options.Now()
	var all transition
	members := make([]transition, len(specs))
	for i, e := range specs {
		tr, err := r.table.start(e, r.seq.next(now), now)
		if err != nil {
			refuse(results, err)
			return
		}
		members[i] = tr
		all.when, all.then = append(all.when, tr.when...), append(all.then, tr.then...)
		all.otherwise = append(all.otherwise, tr.otherwise...)
	}
	all.name, all.alone = fmt.Sprintf("start %d processes", len(specs)), true
	// All of it was written or nothing, so one tells for the others.
	all.applied = members[0].applied
	a, err := r.commitRoomy(ctx, all, func(v view) bool {
		return slices.ContainsFunc(specs, func(e encodedSpec) bool { return v[r.keys.process(e.id)] != nil })
	})
	if err != nil {
		refuse(results, fmt.Errorf("%s: %w", all.name, err))
		return
	}
	r.settle(specs, a, results)
}

// settle tells what became of the members of a batch. One that is refused may
// consist of processes that are there already.
func (r *Registry) settle(specs []encodedSpec, a answer, results []StartResult) {
	missing, refused := []int{}, error(nil)
	for i, e := range specs {
		results[i].Started = Started{ID: e.id, Series: 1}
		if a.applied {
			continue
		}
		if a.view[r.keys.process(e.id)] == nil {
			missing = append(missing, i)
			continue
		}
		results[i].Started, results[i].Err = r.existing(e, a.view)
		results[i].ID = e.id
		refused = cmpError(refused, cmpError(results[i].Err, fmt.Errorf("process %s is there already", e.id)))
	}
	for _, i := range missing {
		results[i].Err = fmt.Errorf("start %s: %w: %w", specs[i].id, ErrBatch, refused)
	}
}

// repeated finds an id that stands there twice: etcd takes a key once in a
// transaction.
func repeated(specs []encodedSpec) (id string, twice bool) {
	seen := make(map[string]bool, len(specs))
	for _, e := range specs {
		if seen[e.id] {
			return e.id, true
		}
		seen[e.id] = true
	}
	return "", false
}

func refuse(results []StartResult, err error) {
	for i := range results {
		results[i].Err = err
	}
}

// cmpError is the first of two errors that is one.
func cmpError(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}
