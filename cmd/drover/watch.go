package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/drover-run/drover/registry"
)

func (c *cli) watchCommand() *cobra.Command {
	var after int64
	cmd := &cobra.Command{
		Use:   "watch [ID...]",
		Short: "Print the changes of processes as they come",
		Long: `Print the changes of processes as they come, of all or of these, until Ctrl-C. Ids
that nobody has started yet are waited for.

Every change is a line: when it was seen, id, kind, status, and what there is to
say of it. Its cursor is where to go on with --after: who does so after the last
line that he has seen is told of every end since, of some perhaps twice. With
-o json it is the process as in drover get, with "revision" and "cursor"; of
inputs and outputs those up to 4 KiB.

etcd keeps a part of its history only. If it has dropped what comes after a
cursor the exit code is 1: list what there is, then watch on.`,
		Args: eachArgument("ID", isID),
		RunE: func(cmd *cobra.Command, ids []string) error {
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			f := &follower{cli: c, registry: r, cursor: after}
			return f.until(cmd.Context(), ids, c.printChange)
		},
	}
	cmd.Flags().Var(numberValue[int64]{&after, 1, math.MaxInt64}, "after", "begin with what came after this `cursor` (default from now on)")
	return cmd
}

func (c *cli) printChange(change registry.Change) error {
	if c.json() {
		return c.printJSON(change)
	}
	_, err := fmt.Fprintln(c.stdout, changeLine(time.Now(), change))
	return err
}

// changeLine is one change for a person, or for a script that is content with words.
func changeLine(seen time.Time, p registry.Change) string {
	words := []string{stamp(seen), shellQuote(p.ID), p.Kind, string(p.Status)}
	say := func(name, value string) {
		if value != "" {
			words = append(words, name+"="+shellQuote(oneLine(brief(value))))
		}
	}
	number := func(name string, n int) {
		if n > 0 {
			say(name, strconv.Itoa(n))
		}
	}
	number("attempt", p.Attempt)
	number("errors", p.Errors)
	number("adoptions", p.Adoptions)
	if p.Claim != nil {
		say("node", p.Claim.Node)
	}
	say("due", stamp(p.DueAt))
	if q := p.CancelRequested; q != nil {
		say(orElse(q.What, "cancel")+"_requested_by", orElse(q.By, "unknown"))
	}
	say("reason", p.OutcomeReason)
	say("error", p.Error)
	say("progress", string(p.Progress))
	say("cursor", strconv.FormatInt(p.Cursor, 10))
	return strings.Join(words, " ")
}

// brief cuts what would make a line hard to read.
func brief(text string) string {
	const enough = 120
	if utf8.RuneCountInString(text) <= enough {
		return text
	}
	return string([]rune(text)[:enough]) + "..."
}

// missed explains that etcd has dropped changes.
func missed(err error) (text string, ok bool) {
	gone, ok := errors.AsType[*registry.CompactedError](err)
	if !ok {
		return "", false
	}
	return fmt.Sprintf("what changed after %d can't be told any more: etcd has dropped it, and keeps what came after %d: see what there is with `drover list`, then go on with --after %d",
		gone.Cursor, gone.Oldest, gone.Oldest), true
}
