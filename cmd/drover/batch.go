package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/drover-run/drover/registry"
)

// maxInput limits an encoded input. The registry holds to it as well, but can
// say so only when the lines before are written.
const maxInput = 64 << 10

// batchSpec is a spec and the line where it stands in a batch, 0 if in none.
type batchSpec struct {
	registry.Spec
	line int
}

// batch reads one spec a line. Empty lines are passed over.
func (c *cli) batch(file string) ([]batchSpec, error) {
	in := c.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usage(fmt.Errorf("--batch: %w", err))
		}
		defer f.Close()
		in = f
	}
	var specs []batchSpec
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 4<<20)
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		spec, err := batchLine(line)
		if err != nil {
			return nil, usage(fmt.Errorf("--batch: line %d: %w; nothing was started", n, err))
		}
		specs = append(specs, batchSpec{Spec: spec, line: n})
	}
	if err := lines.Err(); err != nil {
		return nil, usage(fmt.Errorf("--batch: %w; nothing was started", err))
	}
	return specs, nil
}

func batchLine(line []byte) (registry.Spec, error) {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	var spec registry.Spec
	if err := decoder.Decode(&spec); err != nil {
		return spec, notASpec(err)
	}
	if decoder.More() {
		return spec, errors.New("there is more than one JSON value")
	}
	if spec.Kind == "" {
		return spec, errors.New("it names no kind")
	}
	var given struct{ ID *string }
	if err := json.Unmarshal(line, &given); err == nil && given.ID != nil && *given.ID == "" {
		return spec, errors.New(`the id is "", and an id is not empty`)
	}
	var input bytes.Buffer
	if len(spec.Input) > 0 {
		if err := json.Compact(&input, spec.Input); err != nil {
			return spec, err
		}
	}
	if input.Len() > maxInput {
		return spec, &registry.TooLargeError{What: "input", Size: input.Len(), Max: maxInput}
	}
	return complete(spec)
}

// notASpec says what is wrong with a line without speaking of Go.
func notASpec(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field == "" {
			return fmt.Errorf("it is a JSON %s, and must be an object", wrong.Value)
		}
		return fmt.Errorf("%s can't be a %s", wrong.Field, wrong.Value)
	}
	return err
}
