package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/drover-run/drover/registry"
)

// printProcess prints one process for a person to read, what is absent left
// out.
func (c *cli) printProcess(p registry.Process) error {
	var s sheet
	s.line("id", p.ID)
	s.line("kind", p.Kind)
	s.line("queue", p.Queue)
	s.line("priority", fmt.Sprint(p.Priority))
	s.line("disposition", string(p.Disposition))
	s.line("labels", labelText(p.Labels))
	s.line("status", string(p.Status))
	s.state(p)
	s.limits(p)
	s.times(p)
	s.line("input", string(p.Input))
	s.line("output", string(p.Output))
	for _, past := range p.History {
		s.line(fmt.Sprintf("attempt %d", past.Attempt), fmt.Sprintf("node %s, fence %d, %s to %s: %s",
			past.Node, past.Fence, stamp(past.StartedAt), stamp(past.EndedAt), orElse(past.Error, "done")))
		s.line("  its log", past.Log)
	}
	t := table{to: c.stdout}
	return t.write(s...)
}

// sheet is lines of a name and a value.
type sheet [][]string

func (s *sheet) line(name, value string) {
	if value != "" {
		*s = append(*s, []string{name + ":", strings.ReplaceAll(value, "\n", "\n    ")})
	}
}

// state is what became of it so far.
func (s *sheet) state(p registry.Process) {
	s.line("reason", p.OutcomeReason)
	s.line("error", p.Error)
	if e := p.Evidence; e != nil {
		s.line("evidence", facts(e.What, fact("by", e.By), fact("at", stamp(e.At)),
			fact("reason", e.Reason), fact("node", e.Node), fact("session", e.Session), fact("proof", e.Proof)))
	}
	if p.Claim != nil {
		s.line("claim", fmt.Sprintf("node %s, session %s, fence %d", p.Claim.Node, p.Claim.Session, p.Claim.Fence))
	}
	if q := p.CancelRequested; q != nil {
		s.line(orElse(q.What, "cancel")+" requested", facts(stamp(q.At), fact("by", q.By), fact("reason", q.Reason)))
	}
	s.line("authority", p.Authority)
	s.line("reference", string(p.Reference))
	s.line("progress", string(p.Progress))
}

// limits are the policy and what was used up of it.
func (s *sheet) limits(p registry.Process) {
	if p.Series > 1 {
		s.line("series", fmt.Sprint(p.Series))
	}
	s.line("attempt", fmt.Sprintf("%d (errors %d of %d, adoptions %d, snoozes %d)", p.Attempt, p.Errors, p.MaxAttempts, p.Adoptions, p.Snoozes))
	s.line("backoff", strings.TrimSpace(p.Backoff.String()+" "+p.BackoffPolicy))
	switch {
	case p.MaxAdoptions > 0:
		s.line("max adoptions", fmt.Sprint(p.MaxAdoptions))
	case p.MaxAdoptions == registry.NeverQuarantined:
		s.line("max adoptions", "any number")
	}
	if p.AttemptTimeout > 0 {
		s.line("attempt timeout", p.AttemptTimeout.String())
	}
	if p.Deadline > 0 {
		s.line("deadline", p.Deadline.String()+" after it was started")
	}
}

func (s *sheet) times(p registry.Process) {
	s.line("created", stamp(p.CreatedAt))
	s.line("due", stamp(p.DueAt))
	s.line("started", stamp(p.StartedAt))
	s.line("finished", stamp(p.FinishedAt))
}

// facts joins what is known.
func facts(all ...string) string {
	return strings.Join(slices.DeleteFunc(all, func(fact string) bool { return fact == "" }), ", ")
}

// fact is nothing if there is no value.
func fact(name, value string) string {
	if value == "" {
		return ""
	}
	return name + " " + value
}

func labelText(labels map[string]string) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, name+"="+labels[name])
	}
	return strings.Join(pairs, ", ")
}
