package supervisor

import (
	"context"

	"github.com/drover-run/drover/actors"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// Driver is a registry and the way to wake a node, bound together: what is
// started through it is looked for by that node at once. It is a
// [runner.Starter]. It is usable before the node has started, and can be
// copied.
type Driver struct {
	registry *registry.Registry
	poker    actors.Poker
}

var _ runner.Starter = Driver{}

// NewDriver binds a registry to whatever the poker wakes.
func NewDriver(r *registry.Registry, p actors.Poker) Driver { return Driver{registry: r, poker: p} }

// Registry is the one that the Driver starts on.
func (d Driver) Registry() *registry.Registry { return d.registry }

// Poker is the one that the Driver pokes.
func (d Driver) Poker() actors.Poker { return d.poker }

// Start is [registry.Registry.Start], and pokes once the process is durable.
func (d Driver) Start(ctx context.Context, s registry.Spec) (registry.Started, error) {
	started, err := d.registry.Start(ctx, s)
	if err == nil {
		d.poker.Poke()
	}
	return started, err
}

// Wait is [registry.Registry.Wait]. In a handler it gives the attempt's slot
// back meanwhile, see [runner.Await].
func (d Driver) Wait(ctx context.Context, id string) (registry.Process, error) {
	return runner.Await(ctx, d.registry, id)
}
