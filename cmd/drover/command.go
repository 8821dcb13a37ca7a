package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/drover-run/drover/cmd/drover/kinds"
	"github.com/drover-run/drover/registry"
)

// The kinds that come with the daemon.
const (
	kindExec  = "exec"
	kindHTTP  = "http"
	kindSleep = "sleep"
	kindNoop  = "noop"
)

var ownKinds = []string{kindExec, kindHTTP, kindSleep, kindNoop}

func isOwnKind(kind string) bool { return slices.Contains(ownKinds, kind) }

// commandInput is the input of an exec process.
func (c *cli) commandInput(f commandFlags, argv []string) (json.RawMessage, error) {
	if err := checkArgv(argv); err != nil {
		return nil, err
	}
	env := map[string]string{}
	for _, kv := range f.env {
		key, value, given := strings.Cut(kv, "=")
		if !given {
			value = os.Getenv(key)
		}
		env[key] = value
	}
	var stdin string
	if f.stdin != "" {
		content, err := c.argument(f.stdin)
		if err != nil {
			return nil, fmt.Errorf("--stdin: %w", err)
		}
		stdin = string(content)
	}
	input := kinds.ExecInput{Argv: argv, Env: env, Dir: f.dir, Stdin: stdin}
	if err := checkText(input); err != nil {
		return nil, err
	}
	return registry.Encode(input)
}

func checkArgv(argv []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return errors.New("name the command after --, such as: -- make release")
	}
	return nil
}

// checkText refuses what a row can't hold: JSON would put U+FFFD in its place,
// and nobody would notice.
func checkText(in kinds.ExecInput) error {
	const advice = "is not UTF-8 text, which is all that a row holds: have the command read it from a file"
	if !utf8.ValidString(in.Stdin) {
		return fmt.Errorf("--stdin: what it names %s", advice)
	}
	for name, value := range in.Env {
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return fmt.Errorf("--env %q %s", name, advice)
		}
	}
	for _, word := range append([]string{in.Dir}, in.Argv...) {
		if !utf8.ValidString(word) {
			return fmt.Errorf("%q %s", word, advice)
		}
	}
	return nil
}
