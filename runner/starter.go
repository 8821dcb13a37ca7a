package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/drover-run/drover/registry"
)

// Starter is what processes are started on and waited for: a
// *registry.Registry, or the Driver of a node, which wakes its own node as
// well.
type Starter interface {
	Start(ctx context.Context, s registry.Spec) (registry.Started, error)
	Wait(ctx context.Context, id string) (registry.Process, error)
}

// Ref refers to a process whose output is an Out.
type Ref[Out any] struct {
	id       string
	on       Starter
	existing bool
}

// ID is the id of the process.
func (r Ref[Out]) ID() string { return r.id }

// Existing is true if the start that returned this Ref found the process
// there, with the same spec.
func (r Ref[Out]) Existing() bool { return r.existing }

// Wait returns the output once the process has completed. If it ended
// otherwise, the error is an [*EndedError]. Other errors are those of
// [registry.Registry.Wait]. In a handler it gives the attempt's slot back
// meanwhile, see [Await].
func (r Ref[Out]) Wait(ctx context.Context) (Out, error) {
	var out Out
	if r.on == nil {
		return out, errors.New("runner: wait on the zero Ref")
	}
	p, err := Await(ctx, r.on, r.id)
	if err != nil {
		return out, err
	}
	if p.Status != registry.StatusCompleted {
		return out, &EndedError{Process: p}
	}
	if len(p.Output) == 0 {
		return out, nil
	}
	if err := json.Unmarshal(p.Output, &out); err != nil {
		return out, fmt.Errorf("decode the output of %s: %w", r.id, err)
	}
	return out, nil
}

// EndedError says that a process ended, but not as completed.
type EndedError struct{ Process registry.Process }

func (e *EndedError) Error() string {
	text := fmt.Sprintf("process %s %s", e.Process.ID, e.Process.Status)
	if why := e.Process.Error; why != "" {
		return text + ": " + why
	}
	if why := e.Process.OutcomeReason; why != "" {
		return text + ": " + why
	}
	return text
}
