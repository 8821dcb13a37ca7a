package main

import (
	"context"
	"fmt"

	"github.com/drover-run/drover/registry"
)

// atOnce is how much of a batch is sent before its ids are printed.
const atOnce = 1000

// startAll starts what stands in specs and prints an id a line, in order. One that
// can't be started does not keep back the others, unless etcd is why.
func (c *cli) startAll(ctx context.Context, r *registry.Registry, specs []batchSpec, quiet bool) ([]string, error) {
	ids := make([]string, 0, len(specs))
	refused := refusals{cli: c, total: len(specs)}
	for rest := specs; len(rest) > 0 && !refused.byEtcd; {
		now := together(rest)
		rest = rest[len(now):]
		for i, result := range c.startMany(ctx, r, now) {
			if result.Err != nil {
				refused.add(now[i].line, result.Err)
				continue
			}
			ids = append(ids, result.ID)
			if quiet {
				continue
			}
			if err := c.printStarted(result.ID); err != nil {
				return ids, err
			}
		}
	}
	return ids, refused.err(len(ids))
}

func (c *cli) startMany(ctx context.Context, r *registry.Registry, specs []batchSpec) (results []registry.StartResult) {
	plain := make([]registry.Spec, len(specs))
	for i, s := range specs {
		plain[i] = s.Spec
	}
	_ = c.patiently(ctx, func(ctx context.Context) error { // each result has its own error
		results = r.StartMany(ctx, plain, registry.StartManyOptions{})
		return nil
	})
	return results
}

// together is how many of the specs may be started at the same time: none is
// there twice, so that of two with one id it is always the first that counts.
func together(specs []batchSpec) []batchSpec {
	ids := make(map[string]bool, min(len(specs), atOnce))
	for i, s := range specs {
		if i == atOnce || s.ID != "" && ids[s.ID] {
			return specs[:i]
		}
		ids[s.ID] = true
	}
	return specs
}

func (c *cli) printStarted(id string) error {
	if c.json() {
		return c.printJSON(map[string]string{"id": id})
	}
	_, err := fmt.Fprintln(c.stdout, id)
	return err
}

// refusals are what could not be started: the first of them is told of, the
// others are counted.
type refusals struct {
	cli    *cli
	total  int
	first  error
	line   int
	worst  int
	byEtcd bool // it is no use to go on
}

func (f *refusals) add(line int, err error) {
	if f.first == nil {
		f.first, f.line = err, line
	}
	code, _ := f.cli.judge(err)
	f.worst = max(f.worst, code)
	f.byEtcd = f.byEtcd || code != exitConflict && code != exitUsage
}

func (f *refusals) err(started int) error {
	switch {
	case f.first == nil:
		return nil
	case f.line == 0:
		return f.first // it is no batch
	}
	_, text := f.cli.judge(f.first)
	return &exitError{code: f.worst, err: fmt.Errorf("line %d of the batch: %s; %d of %d were started", f.line, text, started, f.total)}
}
