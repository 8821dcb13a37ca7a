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

func (c *cli) nodesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "nodes",
		Short: "List the living nodes",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			nodes, err := r.Nodes(cmd.Context())
			if err != nil {
				return err
			}
			return c.printNodes(nodes)
		},
	}
}

func (c *cli) printNodes(nodes []registry.Node) error {
	var rows [][]string
	for _, n := range nodes {
		if c.json() {
			if err := c.printJSON(n); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{
			n.Name, n.Session, strings.Join(n.Queues, ","),
			strconv.Itoa(n.Running), strconv.Itoa(n.Max), stamp(n.Since), n.Version,
		})
	}
	if c.json() {
		return nil
	}
	return c.printTable([]string{"NAME", "SESSION", "QUEUES", "RUNNING", "MAX", "SINCE", "VERSION"}, rows)
}

func (c *cli) pokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "poke [NODE]",
		Short: "Make a node, or all of them, look at the queue now",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return oneArgument("NODE", isName)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			nodes, err := r.Nodes(cmd.Context())
			if err != nil {
				return err
			}
			names := make([]string, 0, len(nodes))
			for _, n := range nodes {
				names = append(names, n.Name)
			}
			if len(args) == 1 {
				if !slices.Contains(names, args[0]) {
					return fmt.Errorf("there is no living node %q (see: drover nodes)", args[0])
				}
				names = args
			}
			if len(names) == 0 {
				return errors.New("there is no living node (start one with: drover serve)")
			}
			slices.Sort(names)
			for _, name := range slices.Compact(names) {
				if err := r.Poke(cmd.Context(), name); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
