package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/drover-run/drover/registry"
)

// outputFormat is the value of --output.
type outputFormat string

const (
	formatText outputFormat = "text"
	formatJSON outputFormat = "json"
)

func (f *outputFormat) String() string {
	if *f == "" {
		return string(formatText)
	}
	return string(*f)
}

// Set implements pflag.Value.
func (f *outputFormat) Set(v string) error {
	switch outputFormat(v) {
	case formatText, formatJSON:
		*f = outputFormat(v)
		return nil
	default:
		return errors.New("it must be text or json")
	}
}

// Type implements pflag.Value.
func (f *outputFormat) Type() string { return "format" }

func (c *cli) json() bool { return c.global.output == formatJSON }

// printJSON prints one object on one line.
func (c *cli) printJSON(v any) error {
	b, err := registry.Encode(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "%s\n", b)
	return err
}

// printTable prints rows in columns under a header.
func (c *cli) printTable(header []string, rows [][]string) error {
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(header, "\t"))
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// hint tells a person something that is no result.
func (c *cli) hint(format string, a ...any) { fmt.Fprintf(c.stderr, format+"\n", a...) }

// printProcess prints one process for a person to read, what is absent left
// out.
func (c *cli) printProcess(p registry.Process) error {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s:\t%s\n", name, value)
		}
	}
	line("id", p.ID)
	line("kind", p.Kind)
	line("queue", p.Queue)
	line("priority", fmt.Sprint(p.Priority))
	line("status", string(p.Status))
	line("reason", p.OutcomeReason)
	line("error", p.Error)
	line("attempt", fmt.Sprintf("%d (errors %d of %d, adoptions %d, snoozes %d)", p.Attempt, p.Errors, p.MaxAttempts, p.Adoptions, p.Snoozes))
	line("created", stamp(p.CreatedAt))
	line("due", stamp(p.DueAt))
	line("started", stamp(p.StartedAt))
	line("finished", stamp(p.FinishedAt))
	if p.Claim != nil {
		line("claim", fmt.Sprintf("node %s, session %s, fence %d", p.Claim.Node, p.Claim.Session, p.Claim.Fence))
	}
	if p.CancelRequested != nil {
		line("cancel requested", strings.TrimSpace(fmt.Sprintf("%s by %s %s", stamp(p.CancelRequested.At), p.CancelRequested.By, p.CancelRequested.Reason)))
	}
	line("input", string(p.Input))
	line("output", string(p.Output))
	for _, past := range p.History {
		line(fmt.Sprintf("attempt %d", past.Attempt), fmt.Sprintf("node %s, fence %d, %s to %s: %s",
			past.Node, past.Fence, stamp(past.StartedAt), stamp(past.EndedAt), orElse(past.Error, "done")))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := io.Copy(c.stdout, &b)
	return err
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.RFC3339)
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
