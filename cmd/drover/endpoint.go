package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/drover-run/drover/cmd/drover/etcdserver"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/supervisor"
)

const defaultEndpoint = "127.0.0.1:2379"

// open connects a client command: to the endpoints that were named, else to
// the etcd that a living drover serves from the data directory, else to the
// usual port of this machine. done closes both.
func (c *cli) open(ctx context.Context) (r *registry.Registry, done func(), err error) {
	client, disconnect, err := c.client(ctx)
	if err != nil {
		return nil, nil, err
	}
	r, err = c.openRegistry(ctx, client, nil)
	if err != nil {
		disconnect()
		return nil, nil, err
	}
	return r, func() {
		r.Close()
		disconnect()
	}, nil
}

// client stays connected to the data directory whoever serves that: one run may
// hand it on to another while a command waits.
func (c *cli) client(ctx context.Context) (client *clientv3.Client, disconnect func(), err error) {
	if len(c.global.endpoints) == 0 {
		share, ok, err := etcdserver.Visit(ctx, c.global.dataDir)
		inUse, silent := errors.AsType[*etcdserver.InUseError](err)
		switch {
		case silent:
			return nil, nil, &exitError{code: exitUnreachable, err: inUse}
		case err != nil:
			return nil, nil, fmt.Errorf("look for a drover that serves %s: %w", c.global.dataDir, err)
		case ok:
			c.global.endpoints = share.Endpoints()
			return share.Client(), func() { _ = share.Stop(context.Background()) }, nil // it only closes the client
		}
		c.global.endpoints = []string{defaultEndpoint}
	}
	client, err = c.global.connect()
	return client, func() { client.Close() }, err
}

func (c *cli) openRegistry(ctx context.Context, client *clientv3.Client, log *zap.Logger) (*registry.Registry, error) {
	return registry.Open(ctx, client, registry.Options{
		Namespace: c.global.namespace, RequestTimeout: c.global.requestTimeout, MaxInput: maxInput, Logger: log,
	})
}

// reconnecting is how a client connects again that is cut off. By gRPC's own
// measure it waits for up to two minutes between two tries, and a node would be
// without etcd for as long as etcd was away once more.
var reconnecting = grpc.ConnectParams{
	Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
	// A try whose packets get lost is given up as early, for the kernel repeats
	// them more and more slowly.
	MinConnectTimeout: 5 * time.Second,
}

// connect makes a client. It does not wait for etcd: the first request does.
func (g *globalFlags) connect() (*clientv3.Client, error) {
	config := clientv3.Config{
		Endpoints: g.endpoints,
		// A half-open connection is noticed within 13 s; without, it takes
		// longer than most sessions live.
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(reconnecting)},
		Username:    g.user, Logger: zap.NewNop(),
	}
	if g.user != "" {
		password, err := g.password()
		if err != nil {
			return nil, err
		}
		config.Password, config.DialTimeout = password, g.requestTimeout
	}
	if g.cacert != "" || g.cert != "" {
		info := transport.TLSInfo{TrustedCAFile: g.cacert, CertFile: g.cert, KeyFile: g.key}
		var err error
		if config.TLS, err = info.ClientConfig(); err != nil {
			return nil, usage(fmt.Errorf("TLS files: %w", err))
		}
	}
	client, err := clientv3.New(config)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("%w: %w", registry.ErrUnavailable, err)
	}
	if err != nil {
		return nil, usage(fmt.Errorf("--endpoints %s: %w", strings.Join(g.endpoints, ","), err))
	}
	return client, nil
}

// witnessAccess is connect for the witness, which gets contents and not names of
// files: it is to reach etcd also when those are gone.
func (g *globalFlags) witnessAccess() (*supervisor.WitnessAccess, error) {
	a := &supervisor.WitnessAccess{Endpoints: g.endpoints, Username: g.user}
	var err error
	if g.user != "" {
		if a.Password, err = g.password(); err != nil {
			return nil, err
		}
	}
	for _, f := range []struct {
		name    string
		content *[]byte
	}{{g.cacert, &a.CA}, {g.cert, &a.Cert}, {g.key, &a.Key}} {
		if f.name == "" {
			continue
		}
		if *f.content, err = os.ReadFile(f.name); err != nil {
			return nil, usage(fmt.Errorf("TLS files: %w", err))
		}
	}
	return a, nil
}

func (g *globalFlags) password() (string, error) {
	if g.passwordFile == "" {
		return os.Getenv("DROVER_PASSWORD"), nil
	}
	if g.passwordRead { // it may be a pipe
		return g.passwordText, nil
	}
	content, err := os.ReadFile(g.passwordFile)
	if err != nil {
		return "", usage(fmt.Errorf("--password-file: %w", err))
	}
	g.passwordText, g.passwordRead = strings.TrimRight(string(content), "\r\n"), true
	return g.passwordText, nil
}
