package kinds

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ExecInput is the input of exec. Only Argv is required.
type ExecInput struct {
	Argv  []string          `json:"argv"`
	Env   map[string]string `json:"env,omitempty"`
	Dir   string            `json:"dir,omitempty"`
	Stdin string            `json:"stdin,omitempty"` // "": /dev/null
}

// ParseExecInput decodes an input and checks it. Unknown fields are an error.
func ParseExecInput(input json.RawMessage) (ExecInput, error) {
	var in ExecInput
	if err := decodeStrictly(input, &in); err != nil {
		return ExecInput{}, fmt.Errorf("input of exec: %w", err)
	}
	return in, in.Validate()
}

// Validate reports all that no system could run.
func (in ExecInput) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("input of exec: "+format, args...))
	}
	if len(in.Argv) == 0 || in.Argv[0] == "" {
		fault("argv: it must name a command")
	}
	for i, arg := range in.Argv {
		if strings.Contains(arg, "\x00") {
			fault("argv[%d]: it holds a NUL byte, which no argument can", i)
		}
	}
	for name, value := range in.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			fault("env: %q is no name of a variable", name)
		}
		if strings.Contains(value, "\x00") {
			fault("env: %s holds a NUL byte, which no variable can", name)
		}
	}
	if strings.Contains(in.Dir, "\x00") {
		fault("dir: it holds a NUL byte, which no path can")
	}
	return errors.Join(faults...)
}
