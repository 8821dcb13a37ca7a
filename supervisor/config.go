package supervisor

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// Config says what a node is. Registry and Mux are required; the zero values
// of the others mean what stands beside them.
type Config struct {
	//
	// How soon the node is ready again when etcd is back depends on the
	// registry's client, see [registry.Open] for what to give it: within 2 s if
	// it tries to connect every second. By itself it tries less and less often,
	// up to two minutes apart.
	Registry *registry.Registry
	// Mux has the handlers. The node claims the kinds that it knows when the
	// node is made.
	Mux *runner.Mux
	// Node is the node's name in the roster: 1 to 64 of A-Z a-z 0-9 . _ -.
	// The host's name, with - for what is not legal, if empty. Two nodes may
	// have the same name; their sessions tell them apart.
	Node string
	// Name is the name of the actor that Start spawns: "drover" if empty. A
	// second node in an actor system needs another one.
	Name string
	// Queues that the node serves, at most 60: "default" if empty.
	Queues []string
	// MaxRunning is how many processes run at a time: 64 if zero.
	MaxRunning int
	// QueueLimits are how many processes of a queue run at a time on this
	// node, for queues that are not to have all of MaxRunning; none if zero or
	// absent. Each must be one of Queues.
	QueueLimits map[string]int
	// TTL of the session, in whole seconds, which etcd may raise (by default
	// to 2 s): 10 s if zero. After a crash, others take over that much later,
	// if nobody proves earlier that the node is dead.
	TTL time.Duration
	// Poll is how long after a drive the node looks again if nobody poked it:
	// 400 ms if zero. It is a safety net.
	Poll time.Duration
	// ShutdownTimeout bounds how long handing claims back may take once
	// attempts get no more time: 30 s if zero. Of it, handlers have two
	// thirds, and 10 s at the most, to return after their contexts ended.
	ShutdownTimeout time.Duration
	// Retention is how long processes are kept after they have ended: 24 h
	// those that completed and 7 days the others, if zero, or less when etcd's
	// data fill more than half of its quota, which is logged; for ever if
	// negative. Every node deletes what is over, about once a minute, or more
	// often when space is needed.
	Retention registry.Retention
	// PublishEnded publishes an actors.ProcessEnded for each process that this
	// node ends. Subscribers are called one event at a time.
	PublishEnded bool
	// Logger is for what no caller can be told; none if nil.
	Logger *zap.Logger
	// RunHandle replaces the drive that runs processes on this node, by
	// another execution tier. The node decides when it is called.
	RunHandle runner.RunHandle
	// Witness is the small process beside this one, see the function [Witness];
	// nil if there is none. It kills the commands that it has started if this
	// process dies, or is frozen past the session's deadline, and if it dies it
	// ends the session, so that others take over at once. It stays the caller's
	// to close, after the node.
	Witness *WitnessLink
	// WitnessAccess is how the witness reaches etcd. If nil, it does as the
	// registry's client, which does not tell its certificates: with TLS it has to
	// be said.
	WitnessAccess *WitnessAccess
	// Version is shown in the roster.
	Version string
}

func (c Config) withDefaults() Config {
	if c.Node == "" {
		c.Node = hostName()
	}
	if c.Name == "" {
		c.Name = "drover"
	}
	if len(c.Queues) == 0 {
		c.Queues = []string{"default"}
	}
	if c.MaxRunning == 0 {
		c.MaxRunning = 64
	}
	c.QueueLimits = maps.Clone(c.QueueLimits)
	if c.TTL == 0 {
		c.TTL = 10 * time.Second
	}
	if c.Poll == 0 {
		c.Poll = 400 * time.Millisecond
	}
	if c.ShutdownTimeout == 0 {
		c.ShutdownTimeout = 30 * time.Second
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// Limits of a Config.
const (
	maxQueues     = 60
	maxMaxRunning = 100_000
	minPoll       = time.Millisecond
)

// validate reports all faults together.
func (c Config) validate() error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(c.Registry == nil, "Registry is required")
	fault(c.Mux == nil, "Mux is required")
	if err := registry.CheckName("node", c.Node); err != nil {
		faults = append(faults, fmt.Errorf("Node: %w", err))
	}
	if err := registry.CheckName("actor", c.Name); err != nil {
		faults = append(faults, fmt.Errorf("Name: %w", err))
	}
	fault(len(c.Queues) > maxQueues, "Queues: there are %d, the limit is %d", len(c.Queues), maxQueues)
	seen := map[string]bool{}
	for _, queue := range c.Queues {
		if err := registry.CheckName("queue", queue); err != nil {
			faults = append(faults, fmt.Errorf("Queues: %w", err))
		}
		fault(seen[queue], "Queues: %s is there twice", queue)
		seen[queue] = true
	}
	for _, queue := range slices.Sorted(maps.Keys(c.QueueLimits)) {
		fault(!seen[queue], "QueueLimits: %s is not one of Queues", queue)
		fault(c.QueueLimits[queue] < 0, "QueueLimits: %d for %s, it must be 0 or more", c.QueueLimits[queue], queue)
	}
	fault(c.MaxRunning < 0 || c.MaxRunning > maxMaxRunning,
		"MaxRunning is %d, it must be 1 to %d", c.MaxRunning, maxMaxRunning)
	fault(c.TTL < time.Second, "TTL is %s, it must be 1s at least", c.TTL)
	fault(c.Poll < minPoll, "Poll is %s, it must be %s at least", c.Poll, minPoll)
	fault(c.ShutdownTimeout < time.Millisecond, "ShutdownTimeout is %s, it must be 1ms at least", c.ShutdownTimeout)
	// Otherwise what a missed event left behind waits longer than what a
	// crash did.
	fault(c.TTL >= time.Second && c.Poll > c.TTL, "Poll is %s, which is more than the TTL of %s", c.Poll, c.TTL)
	return errors.Join(faults...)
}

// hostName is the host's name as a node may have it.
func hostName() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "node"
	}
	legal := strings.Map(func(c rune) rune {
		if registry.CheckName("node", string(c)) != nil {
			return '-'
		}
		return c
	}, host)
	return legal[:min(len(legal), 64)]
}
