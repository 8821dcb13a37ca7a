package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The values of flags refuse what is wrong while the command line is read, so
// before anything is done, and say what is allowed. flagError puts the flag and
// the value before that.

// flagError is what a person is told of a command line that can't be read.
func flagError(_ *cobra.Command, err error) error {
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return usage(fmt.Errorf("--%s needs a value", e.GetFlag().Name))
	}
	e, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return usage(err)
	}
	why := e.Unwrap()
	if e.GetFlag().Value.Type() == "bool" {
		why = errors.New("it must be true or false") // pflag's own values speak of Go
	}
	return usage(wrong("--"+e.GetFlag().Name, e.GetValue(), why))
}

// wrong says what is wrong with the value of something.
func wrong(what, value string, why error) error {
	return fmt.Errorf("%s %s: %w", what, said(value), why)
}

// said is a value as it can be told from the words around it.
func said(value string) string {
	if value == "" || strings.ContainsFunc(value, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }) {
		return strconv.Quote(value)
	}
	return value
}

// numberValue is a whole number.
type numberValue[T int | int64] struct {
	to          *T
	least, most T
}

// atLeast is a number without a limit that anybody would meet.
func atLeast(to *int, least int) numberValue[int] {
	return numberValue[int]{to: to, least: least, most: math.MaxInt32}
}

func (v numberValue[T]) String() string { return strconv.FormatInt(int64(*v.to), 10) }
func (v numberValue[T]) Type() string   { return "int" }

// Set implements pflag.Value.
func (v numberValue[T]) Set(text string) error {
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err == nil && n >= int64(v.least) && n <= int64(v.most):
		*v.to = T(n)
		return nil
	case int64(v.most) >= math.MaxInt32 && n < int64(v.least):
		return fmt.Errorf("it must be a whole number, %d or more", v.least)
	default:
		return fmt.Errorf("it must be a whole number from %d to %d", v.least, v.most)
	}
}

// longest is far beyond what anybody waits for, and keeps every sum of times one
// that can be written down.
const longest = 876_000 * time.Hour

// durationValue is a span of time.
type durationValue struct {
	to          *time.Duration
	least, most time.Duration // most is longest if 0
	whole       time.Duration // it must be a multiple of this, if not 0
}

// positive is a duration that is not 0.
func positive(to *time.Duration) durationValue { return durationValue{to: to, least: 1} }

func (v durationValue) String() string {
	if *v.to == 0 {
		return "" // no default worth telling
	}
	return v.to.String()
}
func (v durationValue) Type() string { return "duration" }

// Set implements pflag.Value.
func (v durationValue) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err == nil && d >= v.least && d <= v.limit() && (v.whole == 0 || d%v.whole == 0) {
		*v.to = d
		return nil
	}
	what := "a time such as 30s or 1h30m"
	if v.whole == time.Second {
		what = "whole seconds, such as 30s"
	}
	if v.least == 1 {
		return fmt.Errorf("it must be %s, more than 0 and at most %s", what, brisk(v.limit()))
	}
	return fmt.Errorf("it must be %s, from %s to %s", what, brisk(v.least), brisk(v.limit()))
}

func (v durationValue) limit() time.Duration {
	if v.most == 0 {
		return longest
	}
	return v.most
}

// brisk is a duration as people write it, without the zeros of 24h0m0s.
func brisk(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}
