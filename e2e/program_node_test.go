package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
	"github.com/drover-run/drover/supervisor"
)

// programVariable makes this test binary a program that embeds a node. It holds the programConfig in JSON.
const programVariable = "E2E_NODE"

// kindGo is run by such programs alone.
const kindGo = "journal"

// programConfig is what such a program is told.
type programConfig struct {
	Name, Endpoints, Namespace, Journal string
	TTL                                 time.Duration
}

// goInput is the input of kindGo.
type goInput struct {
	Lasts registry.Duration `json:"lasts"`
	Fails int               `json:"fails"` // up to this attempt
}

// embed starts a program with a node, whose handlers are Go, and returns once it takes work.
func (c *cluster) embed(name string, j *journal, namespace string, ttl time.Duration) *node {
	c.t.Helper()
	n := &node{c: c, name: name}
	for _, m := range c.members {
		n.proxies = append(n.proxies, newProxy(c.t, "tcp", "127.0.0.1:0", m.config.Client))
	}
	n.launch = func() *program {
		config, err := json.Marshal(programConfig{
			Name: name, Endpoints: n.endpoints(), Namespace: namespace, Journal: j.dir, TTL: ttl,
		})
		if err != nil {
			c.t.Fatal(err)
		}
		self, err := os.Executable()
		if err != nil {
			c.t.Fatal(err)
		}
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), programVariable+"="+string(config))
		return launchCommand(c.t, cmd)
	}
	n.start()
	n.ready()
	return n
}

// programMain is the program's main. It says what a drover serve says when it takes work.
func programMain(config string) (err error) {
	var c programConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	log := zap.Must(zap.NewProduction())
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	etcd, err := clientv3.New(clientv3.Config{
		Endpoints: strings.Split(c.Endpoints, ","), Logger: zap.NewNop(),
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
	})
	if err != nil {
		return err
	}
	defer etcd.Close()
	reg, err := registry.Open(context.Background(), etcd, registry.Options{Namespace: c.Namespace, Logger: log})
	if err != nil {
		return err
	}
	defer reg.Close()
	mux := runner.NewMux()
	mux.Handle(kindGo, registry.Rerunnable, (&journal{c.Journal}).handler())
	mux.Handle(kindCrash, registry.Rerunnable, runner.HandlerFunc(crash))
	n, err := supervisor.Start(context.Background(), actor.NewActorSystem(), supervisor.Config{
		Registry: reg, Mux: mux, Node: c.Name, TTL: c.TTL, Logger: log,
	})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(os.Stderr, "ready node=%s \n", c.Name)
	select {
	case <-n.Done():
		return n.Err()
	case <-asked:
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return n.Stop(ctx)
}

// handler is kindGo: an attempt that writes into the journal when it begins and ends, and obeys its context.
func (j *journal) handler() runner.Handler {
	return runner.HandlerFunc(func(ctx context.Context, a *runner.Attempt) (any, error) {
		var in goInput
		if err := json.Unmarshal(a.Input(), &in); err != nil {
			return nil, runner.Fail(err)
		}
		line := func(what, how string) error {
			return j.write(entry{
				What: what, ID: a.ID(), Attempt: a.Number(), Fence: a.Fence(), Node: a.Node(),
				PID: os.Getpid(), At: time.Now().UTC(), How: how,
			})
		}
		lock, err := os.OpenFile(j.lock(a.ID()), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		defer lock.Close()
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			if err := line("overlap", "go"); err != nil {
				return nil, err
			}
		}
		if err := line("begin", "go"); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), line("end", "stopped"))
		case <-time.After(time.Duration(in.Lasts)):
		}
		if a.Number() <= in.Fails {
			return nil, errors.Join(errors.New("told to fail"), line("end", "failed"))
		}
		return nil, line("end", "done")
	})
}
