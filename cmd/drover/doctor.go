package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/drover-run/drover/registry"
)

func (c *cli) doctorCommand() *cobra.Command {
	var repair bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong in etcd, and repair it if asked to",
		Long: `Look at everything that the namespace holds in etcd and print what is not as drover
leaves it, a finding a line: what others wrote or deleted, or a fault of drover's
own. With --repair, put right what needs no guess. It may be run at any time.

The exit code is 0 if all is well, or was repaired, and 1 if something is wrong.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			repairable := 0
			report, err := r.Check(cmd.Context(), registry.CheckOptions{Repair: repair}, func(f registry.Finding) error {
				if f.Repairable && !f.Repaired {
					repairable++
				}
				return c.printFinding(f)
			})
			if err != nil {
				return err
			}
			return diagnosis(report, repairable, repair)
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "put right what needs no guess")
	return cmd
}

func (c *cli) printFinding(f registry.Finding) error {
	if c.json() {
		return c.printJSON(f)
	}
	text := f.Key + ": " + f.What
	switch {
	case f.Repaired:
		text += " (repaired)"
	case f.Repairable:
		text += " (can be repaired)"
	case f.Advice != "":
		text += " (" + f.Advice + ")"
	}
	_, err := fmt.Fprintln(c.stdout, oneLine(text))
	return err
}

// diagnosis is nil if all is well.
func diagnosis(report registry.CheckReport, repairable int, repair bool) error {
	left := report.Findings - report.Repaired
	if left == 0 {
		return nil
	}
	text := fmt.Sprintf("%d of %d findings are left, in %d keys", left, report.Findings, report.Keys)
	switch {
	case repairable > 0 && !repair:
		text += fmt.Sprintf(": `drover doctor --repair` repairs %d", repairable)
	case repairable > 0:
		text += fmt.Sprintf(": %d changed while they were repaired, run it again", repairable)
	default:
		text += ": a person has to decide what to do about them"
	}
	return &exitError{code: exitFailed, err: errors.New(text)}
}
