package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-run/drover/registry"
)

type listFlags struct {
	statuses           []string
	kind, queue        string
	labels             []string
	after              string
	limit              int
	quiet, full, watch bool
}

func (c *cli) listCommand() *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List processes in the order of their ids",
		Long: `List processes in the order of their ids, those that pass all the filters. With -w,
go on with each change after which one passes them, as it comes, until Ctrl-C;
--after and --limit are about the list that comes first.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := f.filter()
			if err != nil {
				return usage(err)
			}
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			return c.list(cmd.Context(), r, filter, f)
		},
	}
	f.limit = 100
	flags := cmd.Flags()
	flags.Var(list(&f.statuses, eachOf(statusNames(registry.Status.Valid)...)), "status", "only these, as scheduled,pending,running,orphaned,parked,completed,failed,cancelled,abandoned")
	flags.Var(textValue{&f.kind, isName}, "kind", "only this kind")
	flags.Var(textValue{&f.queue, isName}, "queue", "only this queue")
	flags.VarP(arrayValue{&f.labels, isLabel}, "label", "l", "only with this label, K=V; may be repeated, and all must be there")
	flags.Var(numberValue[int]{&f.limit, 1, 10_000}, "limit", "at most this many, 1 to 10000")
	flags.StringVar(&f.after, "after", "", "only ids beyond this one")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print ids only")
	flags.BoolVarP(&f.watch, "watch", "w", false, "go on with the changes as they come")
	flags.BoolVar(&f.full, "full", false, "with input, output and history: each as drover get shows it")
	offer(cmd, "status", completeStatus(registry.Status.Valid))
	offer(cmd, "kind", completeKind)
	return cmd
}

func (f listFlags) filter() (registry.Filter, error) {
	var statuses []registry.Status
	for _, name := range f.statuses {
		statuses = append(statuses, registry.Status(name))
	}
	labels, err := parseLabels(f.labels)
	return registry.Filter{
		Statuses: statuses, Kind: f.kind, Queue: f.queue, Labels: labels, After: f.after, Limit: f.limit, Full: f.full,
	}, err
}

func (c *cli) list(ctx context.Context, r *registry.Registry, filter registry.Filter, f listFlags) error {
	page, err := r.List(ctx, filter)
	if err != nil {
		return err
	}
	p := listPrinter{cli: c, flags: f, table: table{to: c.stdout}}
	if f.watch {
		p.table.widths = []int{36, 8, 8, 9} // for what may come: a UUID, and the longest status
	}
	if err := p.page(page); err != nil || !f.watch {
		return err
	}
	follow := follower{cli: c, registry: r, cursor: page.Revision}
	return follow.until(ctx, nil, func(change registry.Change) error {
		if !passes(filter, change.Process) {
			return nil
		}
		if !filter.Full {
			change.Input, change.Output, change.History = nil, nil, nil
		}
		return p.print(change.Process)
	})
}

// passes says whether a process would be in a list with this filter, wherever that
// begins and however long it is.
func passes(f registry.Filter, p registry.Process) bool {
	for name, value := range f.Labels {
		if its, ok := p.Labels[name]; !ok || its != value {
			return false
		}
	}
	return (f.Kind == "" || p.Kind == f.Kind) && (f.Queue == "" || p.Queue == f.Queue) &&
		(len(f.Statuses) == 0 || slices.Contains(f.Statuses, p.Status))
}

// listPrinter prints the processes of a list, and those that follow.
type listPrinter struct {
	cli   *cli
	flags listFlags
	table table
	some  bool // something was printed
}

var listHeader = []string{"ID", "KIND", "QUEUE", "STATUS", "ATTEMPT", "CREATED"}

func (l *listPrinter) page(page registry.Page) error {
	if l.inTable() {
		// At once, so that the columns fit all of them.
		rows := [][]string{listHeader}
		for _, p := range page.Processes {
			rows = append(rows, listRow(p))
		}
		if err := l.table.write(rows...); err != nil {
			return err
		}
	} else if err := l.print(page.Processes...); err != nil {
		return err
	}
	for _, err := range page.Corrupt {
		l.cli.hint("passed over: %v", err)
	}
	if page.More {
		l.cli.hint("there are more: drover list --after %s", shellQuote(page.Next))
	}
	return nil
}

func (l *listPrinter) inTable() bool { return !l.cli.json() && !l.flags.quiet && !l.flags.full }

func (l *listPrinter) print(processes ...registry.Process) error {
	for _, p := range processes {
		if err := l.one(p); err != nil {
			return err
		}
		l.some = true
	}
	return nil
}

func (l *listPrinter) one(p registry.Process) error {
	c := l.cli
	switch {
	case c.json() && l.flags.quiet:
		return c.printJSON(p.ID)
	case c.json():
		return c.printJSON(p)
	case l.flags.quiet:
		_, err := fmt.Fprintln(c.stdout, p.ID)
		return err
	case l.flags.full:
		if l.some {
			if _, err := fmt.Fprintln(c.stdout); err != nil {
				return err
			}
		}
		return c.printProcess(p)
	default:
		return l.table.write(listRow(p))
	}
}

func listRow(p registry.Process) []string {
	return []string{p.ID, p.Kind, p.Queue, string(p.Status), strconv.Itoa(p.Attempt), stamp(p.CreatedAt)}
}

// shellQuote makes a hint that can be copied into a shell.
func shellQuote(s string) string {
	plain := strings.TrimFunc(s, func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_./:@", c)
	})
	if plain == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
