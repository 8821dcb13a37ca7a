package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-run/drover/registry"
)

func (c *cli) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how etcd, the nodes and the queues are",
		Long: `Show how etcd, the nodes and the queues are. The exit code is 0 if all is well, 1 if
something is wrong, and 5 if etcd is not reached.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			h, err := r.Health(cmd.Context())
			if err != nil {
				return err
			}
			h.Members = eachOnce(h.Members)
			if err := c.printHealth(h); err != nil {
				return err
			}
			return healthError(h)
		},
	}
}

// healthError is nil if all is well.
func healthError(h registry.Health) error {
	code := exitFailed
	if !h.Reachable {
		code = exitUnreachable
	}
	if len(h.Problems) == 0 {
		return nil
	}
	return &exitError{code: code, err: errors.New(strings.Join(h.Problems, "; "))}
}

// eachOnce leaves out members that an earlier endpoint stands for: an embedded
// etcd serves at two.
func eachOnce(members []registry.Member) []registry.Member {
	seen := map[string]bool{}
	return slices.DeleteFunc(members, func(m registry.Member) bool {
		again := m.ID != "" && seen[m.ID]
		seen[m.ID] = true
		return again
	})
}

// healthLine is registry.Health in JSON, where scripts find lists also when
// they are empty.
type healthLine struct {
	Healthy bool `json:"healthy"`
	registry.Health
	Nodes  []registry.Node `json:"nodes"`
	Queues []queueLine     `json:"queues"`
}

func (c *cli) printHealth(h registry.Health) error {
	if c.json() {
		line := healthLine{Healthy: len(h.Problems) == 0, Health: h, Nodes: append([]registry.Node{}, h.Nodes...), Queues: []queueLine{}}
		for _, q := range h.Queues {
			line.Queues = append(line.Queues, queueLine(q))
		}
		return c.printJSON(line)
	}
	if err := c.printMembers(h); err != nil || !h.Reachable {
		return err
	}
	sections := []func() error{
		func() error { return c.printNodes(h.Nodes) },
		func() error { return c.printQueues(h.Queues) },
		func() error { return c.printLeft(h.Orphans) },
	}
	for _, section := range sections {
		if _, err := fmt.Fprintln(c.stdout); err != nil {
			return err
		}
		if err := section(); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) printMembers(h registry.Health) error {
	var s sheet
	s.line("etcd", map[bool]string{true: "answers", false: "does not answer"}[h.Reachable])
	s.line("leader", orElse(h.Leader, "none"))
	s.line("alarms", orElse(strings.Join(h.Alarms, ", "), "none"))
	for _, unknown := range h.Unknown {
		s.line("unknown", unknown)
	}
	t := table{to: c.stdout}
	if err := t.write(s...); err != nil {
		return err
	}
	var rows [][]string
	for _, m := range h.Members {
		rows = append(rows, []string{
			m.Endpoint, orElse(m.Name, "-"), orElse(m.Version, "-"), size(m.InUse), size(m.Size), size(m.Quota), orElse(oneLine(m.Error), "ok"),
		})
	}
	return c.printTable([]string{"ENDPOINT", "NAME", "VERSION", "IN USE", "ON DISK", "QUOTA", "STATE"}, rows)
}

func (c *cli) printLeft(orphans []registry.Left) error {
	if len(orphans) == 0 {
		_, err := fmt.Fprintln(c.stdout, "no orphans")
		return err
	}
	var rows [][]string
	for _, left := range orphans {
		rows = append(rows, []string{left.Node, left.Session, strconv.Itoa(left.Count)})
	}
	return c.printTable([]string{"LEFT BY", "SESSION", "ORPHANS"}, rows)
}

// size is bytes for people; what is not known is a dash.
func size(bytes int64) string {
	switch {
	case bytes <= 0:
		return "-"
	case bytes < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
	case bytes < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	default:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	}
}
