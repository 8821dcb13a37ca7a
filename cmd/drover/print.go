package main

import (
	"errors"
	"fmt"
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

// hint tells a person something that is no result.
func (c *cli) hint(format string, a ...any) { fmt.Fprintf(c.stderr, format+"\n", a...) }

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
