// Host is a program with actors of its own that takes part in a drover cluster. It is an example to copy from: start two
// of them on one etcd, in two terminals,
//
//	go run ./e2e/host -endpoints http://127.0.0.1:2379 -name n1
//	go run ./e2e/host -endpoints http://127.0.0.1:2379 -name n2
//
// and type commands. Kill one of them: what it was counting goes on at the other.
//
//	count ID DURATION   start a process, which any of them may run
//	poke                have the node of this process look at the queue
//	poke NAME           have a node of another process do so
//
// It shows how a program puts a node under an actor of its own (ranch.go), has actors as handlers (counter.go), and
// pokes nodes through Proto.Actor's remote, which drover itself does not link (poke.go). Whoever reaches the port that
// remote listens on can send anything to any actor, and stop it: it has no authentication. Keep it to a network that you trust.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/supervisor"
)

// settings are those of the command line.
type settings struct {
	endpoints, namespace, name string
	port, slots                int
	ttl, poll                  time.Duration
	debug                      bool
	witness                    *supervisor.WitnessLink
}

func main() {
	// Before all else, since in a container it executes the program anew. When this process dies, however that comes
	// about, others take over at once. Where there can be no witness it is nil, and the TTL tells.
	witness, err := supervisor.Witness(supervisor.WitnessOptions{})
	if err != nil && !errors.Is(err, supervisor.ErrNoWitness) {
		fmt.Fprintln(os.Stderr, "host:", err)
		os.Exit(1)
	}
	s := settings{witness: witness}
	flag.StringVar(&s.endpoints, "endpoints", "http://127.0.0.1:2379", "etcd's `URLs`, separated by commas")
	flag.StringVar(&s.namespace, "namespace", "ranch", "the `name` under which everything stands in etcd")
	flag.StringVar(&s.name, "name", "", "the `name` of the node, the host's if empty")
	flag.IntVar(&s.port, "port", 0, "the loopback `port` for the actors of other processes, any if 0")
	flag.IntVar(&s.slots, "slots", 64, "how many processes run at a time")
	flag.DurationVar(&s.ttl, "ttl", 10*time.Second, "how long after the last sign of life others take over, if no witness tells them before")
	flag.DurationVar(&s.poll, "poll", time.Second, "how often the node looks at the queue if nobody pokes it")
	flag.BoolVar(&s.debug, "debug", false, "log every drive and why it was made")
	flag.Parse()

	// A second signal ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := s.run(ctx, os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "host:", err)
		os.Exit(1)
	}
}

func (s settings) run(ctx context.Context, in io.Reader) (err error) {
	log, err := s.logger()
	if err != nil {
		return err
	}
	etcd, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(s.endpoints, ","), Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, etcd.Close()) }()
	reg, err := registry.Open(ctx, etcd, registry.Options{Namespace: s.namespace})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reg.Close()) }()

	// remote comes before the node: the roster has the address at which the node's actors can be reached from the
	// beginning then.
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
	r := remote.NewRemote(system, remote.Configure("127.0.0.1", s.port))
	r.Start()               // it panics if it can't listen
	defer r.Shutdown(false) // a graceful one waits 10 s for others that are connected

	node, err := supervisor.New(supervisor.Config{
		Registry: reg, Mux: handlers(), Node: s.name, MaxRunning: s.slots, TTL: s.ttl, Poll: s.poll, Logger: log,
		Witness: s.witness,
	})
	if err != nil {
		return err
	}
	ranch := system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return &ranch{node: node} }))
	defer func() {
		// What runs is handed back for the others. The context that ended is no bound for that.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, node.Stop(ctx))
		if s.witness != nil {
			err = errors.Join(err, s.witness.Close(ctx)) // after the node
		}
		system.Root.Stop(ranch)
	}()
	select {
	case <-node.Ready():
		fmt.Printf("ready at %s/%s\n", node.PID().Address, node.PID().Id)
	case <-node.Done():
		return node.Err()
	case <-ctx.Done():
		return nil
	}
	console := &console{node: node, registry: reg, ranch: ranch, system: system}
	return console.serve(ctx, in)
}

// logger is for what a node has to say that no caller can be told.
func (s settings) logger() (*zap.Logger, error) {
	config := zap.NewDevelopmentConfig()
	if !s.debug {
		config.Level.SetLevel(zap.InfoLevel)
	}
	return config.Build()
}

// serve does what the lines of in say, until the program is told to end or the node has ended by itself.
func (c *console) serve(ctx context.Context, in io.Reader) error {
	// Nothing can interrupt a read of a terminal: the goroutine ends with the process.
	lines := make(chan string)
	go func() {
		for s := bufio.NewScanner(in); s.Scan(); {
			lines <- s.Text()
		}
	}()
	for {
		select {
		case line := <-lines:
			if err := c.do(ctx, strings.Fields(line)); err != nil {
				fmt.Println("error:", err)
			}
		case <-ctx.Done():
			return nil
		case <-c.node.Done():
			return c.node.Err()
		}
	}
}
