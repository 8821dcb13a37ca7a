package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/drover-run/drover/cmd/drover/kinds"
	"github.com/drover-run/drover/registry"
)

// The kinds that come with the daemon.
const (
	kindExec  = "exec"
	kindSleep = "sleep"
	kindNoop  = "noop"
	// kindHTTP may be named in --allow by every version, so that a command
	// line does not change with them.
	kindHTTP = "http"
)

var ownKinds = []string{kindExec, kindSleep, kindNoop}

func isOwnKind(kind string) bool { return slices.Contains(ownKinds, kind) }

// commandInput is the input of an exec process.
func (c *cli) commandInput(f commandFlags, argv []string) (json.RawMessage, error) {
	if len(argv) == 0 {
		return nil, errors.New("name the command after --, such as: -- make release")
	}
	env := map[string]string{}
	for _, kv := range f.env {
		key, value, given := strings.Cut(kv, "=")
		if key == "" {
			return nil, fmt.Errorf("--env %s: it must be K=V or K", kv)
		}
		if !given {
			value = os.Getenv(key)
		}
		env[key] = value
	}
	var stdin string
	if f.stdin != "" {
		if f.stdin != "-" && !strings.HasPrefix(f.stdin, "@") {
			return nil, fmt.Errorf("--stdin %s: it must be @FILE or -", f.stdin)
		}
		content, err := c.argument(f.stdin)
		if err != nil {
			return nil, fmt.Errorf("--stdin: %w", err)
		}
		stdin = string(content)
	}
	return registry.Encode(kinds.ExecInput{Argv: argv, Env: env, Dir: f.dir, Stdin: stdin})
}
