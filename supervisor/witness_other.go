//go:build !linux && !darwin

package supervisor

import (
	"context"
	"os"
	"time"

	"github.com/drover-run/drover/lease"
)

// Without process groups there is nothing that could be watched or killed as one, so here nothing is ever started.

// WitnessLink can't be had on this system.
type WitnessLink struct{}

type record func(ctx context.Context, identity lease.Identity) error

// Witness returns ErrNoWitness.
func Witness(WitnessOptions) (*WitnessLink, error) { return nil, ErrNoWitness }

// Identity is empty, which proves nothing.
func (*WitnessLink) Identity() lease.Identity { return lease.Identity{} }

// Deadline does nothing.
func (*WitnessLink) Deadline(string, time.Duration) {}

// Err returns ErrNoWitness.
func (*WitnessLink) Err() error { return ErrNoWitness }

// Close does nothing.
func (*WitnessLink) Close(context.Context) error { return nil }

// Start returns ErrNoWitness.
func (*WitnessLink) Start(context.Context, GroupCommand) (*Group, error) { return nil, ErrNoWitness }

func (*WitnessLink) attach(record) (detach func()) { return func() {} }
func (*WitnessLink) setWill(string, string)        {}
func (*WitnessLink) revokeWill(string)             {}

// Group can't be had on this system.
type Group struct{}

// PID is 0.
func (*Group) PID() int { return 0 }

// Done is nil.
func (*Group) Done() <-chan struct{} { return nil }

// Wait returns nil.
func (*Group) Wait() *os.ProcessState { return nil }

// Stop returns false.
func (*Group) Stop(time.Duration) bool { return false }
