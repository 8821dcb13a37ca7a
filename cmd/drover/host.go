package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/drover-run/drover/cmd/drover/etcdserver"
	"github.com/drover-run/drover/cmd/drover/kinds"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
	"github.com/drover-run/drover/supervisor"
)

// host is a node with what it stands on: an etcd, of its own or of others, a
// registry, and a witness if it runs commands.
type host struct {
	log       *zap.Logger
	endpoints []string
	server    *etcdserver.Server // nil if the etcd is somebody else's
	client    *clientv3.Client
	registry  *registry.Registry
	witness   *supervisor.Witness // nil if it runs no commands
	node      *supervisor.Node
}

// openHost connects to the endpoints that were named, or starts an etcd in
// the data directory.
func (c *cli) openHost(ctx context.Context, listen string, log *zap.Logger) (*host, error) {
	h := &host{log: log, endpoints: c.global.endpoints}
	var err error
	if len(h.endpoints) > 0 {
		h.client, err = c.global.connect()
	} else {
		h.server, err = etcdserver.Start(ctx, etcdserver.Options{Dir: c.global.dataDir, Listen: listen, Logger: log})
	}
	if err != nil {
		return nil, err
	}
	if h.server != nil {
		h.client, h.endpoints = h.server.Client(), h.server.Endpoints()
		c.global.endpoints = h.endpoints
	}
	if h.registry, err = c.openRegistry(ctx, h.client, log); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// startNode makes the node that runs the allowed kinds, and returns once it
// takes work.
func (h *host) startNode(ctx context.Context, config supervisor.Config, allow []string, o kinds.ExecOptions) error {
	mux := runner.NewMux()
	mux.Handle(kindNoop, registry.Rerunnable, kinds.Noop())
	mux.Handle(kindSleep, registry.Rerunnable, kinds.Sleep())
	if slices.Contains(allow, kindExec) {
		w, err := supervisor.StartWitness(ctx, supervisor.WitnessOptions{Logger: h.log})
		if err != nil {
			return fmt.Errorf("start the witness: %w", err)
		}
		h.witness, o.Witness = w, w
		mux.Handle(kindExec, registry.Rerunnable, kinds.Exec(o))
	}
	config.Registry, config.Mux, config.Witness, config.Logger = h.registry, mux, h.witness, h.log
	node, err := supervisor.Start(ctx, actorSystem(h.log), config)
	if err != nil {
		return err
	}
	h.node = node
	return nil
}

// serverErr is told when the embedded etcd dies; never if there is none.
func (h *host) serverErr() <-chan error {
	if h.server == nil {
		return nil
	}
	return h.server.Err()
}

// stopNode lets attempts go on for a while, then hands back what is left. A
// further signal cuts that short.
func (h *host) stopNode(asked <-chan os.Signal, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stopped := make(chan struct{})
	defer close(stopped)
	go func() {
		select {
		case <-asked:
			cancel()
		case <-stopped:
		}
	}()
	return h.node.Stop(ctx)
}

// closePatience is how long etcd and the witness get to end.
const closePatience = 5 * time.Second

// close ends what the node stood on, the node itself first if it still runs.
func (h *host) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	var errs []error
	if h.node != nil {
		errs = append(errs, h.node.Stop(ctx))
	}
	if h.witness != nil {
		errs = append(errs, h.witness.Close(ctx))
	}
	if h.registry != nil {
		errs = append(errs, h.registry.Close())
	}
	if h.server != nil {
		errs = append(errs, h.server.Stop(ctx))
	} else {
		errs = append(errs, h.client.Close())
	}
	if err := errors.Join(errs...); err != nil {
		h.log.Warn("not everything ended cleanly", zap.Error(err))
	}
}
