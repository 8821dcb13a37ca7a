package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Filter says which processes List is to return. The zero Filter is all.
type Filter struct {
	Statuses []Status // any of these; all if empty
	Kind     string
	Queue    string
	Labels   map[string]string // all of these, with these values
	After    string            // only ids beyond this one, in the order of bytes
	// Cursor is the one of the page before: the list goes on after it, at the
	// same revision, so that all pages together are one list as it was at one
	// moment. It goes before After, and is meant for the same filter.
	Cursor string
	Limit  int // 100 if zero, 10,000 at the most
	// Full includes input, output and history, which a list leaves out.
	// Inputs and outputs over 4 KiB are only in Get.
	Full bool
}

const (
	defaultLimit = 100
	largestLimit = 10_000
)

// Page is a part of a list.
type Page struct {
	Processes []Process
	// More is true if there may be more beyond the last one.
	More bool
	// Next is the id to go on after, by what is true then; Cursor is what to go
	// on with at the revision of this page. Both are empty if there is no more.
	Next   string
	Cursor string
	// Revision is the one at which all of the page was read.
	Revision int64
	// Corrupt are rows that could not be read. They are not in Processes.
	Corrupt []error
}

// List reads processes in the order of their ids, at one revision. If etcd has
// compacted the revision of the cursor, the error wraps [ErrCompacted]: begin
// again, or go on after the last id. A cursor that is none is an error that
// wraps [ErrInvalid].
func (r *Registry) List(ctx context.Context, f Filter) (Page, error) {
	if f.Limit <= 0 {
		f.Limit = defaultLimit
	}
	f.Limit = min(f.Limit, largestLimit)
	l := lister{r: r, filter: f, after: escape.Replace(f.After)}
	if f.Cursor != "" {
		revision, id, err := parseCursor(f.Cursor)
		if err != nil {
			return Page{}, fmt.Errorf("list: %w", err)
		}
		l.page.Revision, l.after = revision, escape.Replace(id)
	}
	err := l.run(ctx)
	switch {
	case errors.Is(err, ErrCompacted) && f.Cursor != "":
		return Page{}, fmt.Errorf("list: the page before was read at revision %d, which etcd does not keep any more; begin again: %w",
			l.page.Revision, err)
	case err != nil:
		return Page{}, fmt.Errorf("list: %w", err)
	}
	return l.page, nil
}

// cursor is what to go on with after an id, at one revision.
func cursor(revision int64, id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(revision, 10) + " " + id))
}

func parseCursor(text string) (revision int64, id string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		number, rest, _ := strings.Cut(string(b), " ")
		id = rest
		revision, err = strconv.ParseInt(number, 10, 64)
	}
	if err != nil || revision <= 0 || CheckID(id) != nil {
		return 0, "", fmt.Errorf("%w: %.80q is not a cursor of a list", ErrInvalid, text)
	}
	return revision, id, nil
}

// mayPass tells by the row alone what can't pass, so that nothing more is
// read for it.
func (f Filter) mayPass(there row) bool {
	if f.Kind != "" && there.spec.Kind != f.Kind || f.Queue != "" && there.spec.Queue != f.Queue {
		return false
	}
	for key, value := range f.Labels {
		if its, ok := there.spec.Labels[key]; !ok || its != value {
			return false
		}
	}
	if len(f.Statuses) == 0 {
		return true
	}
	if there.ended() {
		return slices.Contains(f.Statuses, Status(there.Outcome))
	}
	return slices.ContainsFunc(f.Statuses, func(s Status) bool { return !s.Ended() })
}

// claimedOnly says whether only what is claimed can pass: that is found from
// the claims, without reading all rows.
func (f Filter) claimedOnly() bool {
	return len(f.Statuses) > 0 && !slices.ContainsFunc(f.Statuses, func(s Status) bool {
		return s != StatusRunning && s != StatusOrphaned
	})
}
