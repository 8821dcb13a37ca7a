package registry

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

const (
	maxIDBytes   = 255
	maxNameBytes = 64
)

// CheckID says what is wrong with the id of a process, or nil. An id is 1 to
// 255 bytes of UTF-8, is not blank and has no control characters. The error
// wraps [ErrInvalid].
func CheckID(id string) error {
	var why string
	switch {
	case id == "":
		why = "is empty"
	case len(id) > maxIDBytes:
		why = fmt.Sprintf("has %d bytes, the limit is %d", len(id), maxIDBytes)
	case !utf8.ValidString(id):
		why = "is not UTF-8"
	case strings.TrimSpace(id) == "":
		why = "is blank"
	case strings.ContainsFunc(id, unicode.IsControl):
		why = "has a control character"
	default:
		return nil
	}
	return fmt.Errorf("%w: process id %.80q %s", ErrInvalid, id, why)
}

// CheckName says what is wrong with the name of a queue, node, kind or
// namespace, or nil: 1 to 64 of the characters A-Z a-z 0-9 . _ and -. The
// error wraps [ErrInvalid]; what is the word for the thing in its text.
func CheckName(what, name string) error { return checkName(what, name) }

func checkName(what, name string) error {
	var why string
	switch {
	case name == "":
		why = "is empty"
	case len(name) > maxNameBytes:
		why = fmt.Sprintf("has %d characters, the limit is %d", len(name), maxNameBytes)
	case strings.ContainsFunc(name, func(c rune) bool { return !legalInName(c) }):
		why = "may only have A-Z a-z 0-9 . _ -"
	default:
		return nil
	}
	return fmt.Errorf("%w: %s %.80q %s", ErrInvalid, what, name, why)
}

func legalInName(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '.' || c == '_' || c == '-'
}

// newID makes an id for a process that was given none. Version 7 grows with
// time, so a list in order of id is a list in order of creation.
func newID() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("make a process id: %w", err)
	}
	return id.String(), nil
}

// newNonce tells one transition from another of the same shape.
func newNonce() (string, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return "", fmt.Errorf("make a nonce: %w", err)
	}
	return strings.ReplaceAll(id.String(), "-", "")[:16], nil
}

// sequence gives each start of this Registry a number that orders it: the
// wall clock in nanoseconds, but strictly growing, also when the clock stands
// still or goes back. It orders and never gates: a starter whose clock is off
// changes who goes first, not when.
type sequence struct {
	mu   sync.Mutex
	last int64
}

func (s *sequence) next(now time.Time) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last+1, now.UnixNano())
	return s.last
}

// ErrInvalid is wrapped by errors about an id, a name or a specification that
// can never be accepted. Nothing was sent.
var ErrInvalid = errors.New("invalid")
