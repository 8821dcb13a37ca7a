package main

import (
	"context"
	"errors"
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
// registry, and a witness.
type host struct {
	log       *zap.Logger
	endpoints []string
	etcd      embedded // nil if endpoints were named
	client    *clientv3.Client
	registry  *registry.Registry
	witness   *supervisor.WitnessLink   // nil if it has none
	access    *supervisor.WitnessAccess // of that to etcd
	node      *supervisor.Node
}

// embedded is an etcd in the data directory: an [etcdserver.Server], which is of
// this process alone, or an [etcdserver.Share].
type embedded interface {
	Client() *clientv3.Client
	Endpoints() []string
	Err() <-chan error
	Stop(context.Context) error
}

// openHost connects to the endpoints that were named, or to the etcd that start
// starts.
func (c *cli) openHost(ctx context.Context, start func() (embedded, error), log *zap.Logger) (*host, error) {
	h := &host{log: log, endpoints: c.global.endpoints}
	var err error
	if len(h.endpoints) > 0 {
		h.client, err = c.global.connect()
	} else {
		h.etcd, err = start()
	}
	if err != nil {
		return nil, err
	}
	if h.etcd != nil {
		h.client, h.endpoints = h.etcd.Client(), h.etcd.Endpoints()
		c.global.endpoints = h.endpoints
		// It ends with this process, or moves into another. Nodes of the same
		// data directory are on this machine, and go by the kernel's word.
		h.access = &supervisor.WitnessAccess{}
	} else if h.access, err = c.global.witnessAccess(); err != nil {
		h.close()
		return nil, err
	}
	if h.registry, err = c.openRegistry(ctx, h.client, log); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// openAlone is openHost with an etcd that nobody else may have.
func (c *cli) openAlone(ctx context.Context, listen string, log *zap.Logger) (*host, error) {
	return c.openHost(ctx, func() (embedded, error) {
		return etcdserver.Start(ctx, etcdserver.Options{Dir: c.global.dataDir, Listen: listen, Logger: log})
	}, log)
}

// openShared is openHost with an etcd that is shared with others who do the same.
func (c *cli) openShared(ctx context.Context, log *zap.Logger) (*host, error) {
	if len(c.global.endpoints) == 0 {
		log = quietHandovers(log)
	}
	return c.openHost(ctx, func() (embedded, error) { return etcdserver.Join(ctx, c.global.dataDir, log) }, log)
}

// startNode makes the node that runs the allowed kinds, and returns once it
// takes work.
func (h *host) startNode(ctx context.Context, config supervisor.Config, allow []string, o kinds.ExecOptions) error {
	mux := runner.NewMux()
	mux.Handle(kindNoop, registry.Rerunnable, kinds.Noop())
	mux.Handle(kindSleep, registry.Rerunnable, kinds.Sleep())
	if slices.Contains(allow, kindExec) {
		o.Witness, o.Logger = h.witness, h.log
		mux.Handle(kindExec, registry.Rerunnable, kinds.Exec(o), runner.WhileReady(func() bool { return h.witness.Err() == nil }))
	}
	if slices.Contains(allow, kindHTTP) {
		mux.Handle(kindHTTP, registry.Rerunnable, kinds.HTTP(kinds.HTTPOptions{UserAgent: "drover/" + version}))
	}
	config.Registry, config.Mux, config.Logger = h.registry, mux, h.log
	config.Witness, config.WitnessAccess = h.witness, h.access
	node, err := supervisor.Start(ctx, actorSystem(h.log), config)
	if err != nil {
		return err
	}
	h.node = node
	return nil
}

// serverErr is told when the embedded etcd dies; never if there is none.
func (h *host) serverErr() <-chan error {
	if h.etcd == nil {
		return nil
	}
	return h.etcd.Err()
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
		closeWitness(h.witness, h.log) // its owner closes it too, when there was no host
	}
	if h.registry != nil {
		errs = append(errs, h.registry.Close())
	}
	if h.etcd != nil {
		errs = append(errs, h.etcd.Stop(ctx))
	} else {
		errs = append(errs, h.client.Close())
	}
	if err := errors.Join(errs...); err != nil {
		h.log.Warn("not everything ended cleanly", zap.Error(err))
	}
}
