//go:build !linux && !darwin

package supervisor

import (
	"context"
	"os"
	"time"

	"github.com/drover-run/drover/lease"
)

// Without process groups there is nothing that could be watched or killed as one, so here nothing is ever started.

// Witness can't be had on this system.
type Witness struct{}

// StartWitness returns ErrNoWitness.
func StartWitness(context.Context, WitnessOptions) (*Witness, error) { return nil, ErrNoWitness }

// Identity is empty, which proves nothing.
func (*Witness) Identity() lease.Identity { return lease.Identity{} }

// Deadline does nothing.
func (*Witness) Deadline(string, time.Duration) {}

// Done is nil.
func (*Witness) Done() <-chan struct{} { return nil }

// Err returns ErrNoWitness.
func (*Witness) Err() error { return ErrNoWitness }

// Close does nothing.
func (*Witness) Close(context.Context) error { return nil }

// Start returns ErrNoWitness.
func (*Witness) Start(context.Context, GroupCommand) (*Group, error) { return nil, ErrNoWitness }

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
