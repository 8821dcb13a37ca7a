package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/drover-run/drover/cmd/drover/kinds"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/supervisor"
)

type serveFlags struct {
	node            string
	maxRunning      int
	queues          []string
	ttl, poll       time.Duration
	allow           []string
	shutdownTimeout time.Duration
	witness         bool
	listen          string
	logDir          string
	http            string
}

func (c *cli) serveCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Be a node: run processes until told to stop",
		Long: `Be a node: run processes until told to stop. Without --endpoints, it also runs an
etcd of its own, with its data in --data-dir.

SIGTERM and SIGINT stop it: it claims nothing more, lets attempts finish within
--shutdown-timeout, hands back the rest and leaves. A second signal hands back at
once.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd.Flags().Changed("etcd-listen"), len(c.global.endpoints) > 0); err != nil {
				return usage(err)
			}
			return c.serve(cmd.Context(), f)
		},
	}
	host, _ := os.Hostname() // a machine without a name gets the default of the library
	flags := cmd.Flags()
	f.node, f.maxRunning, f.queues, f.listen = legalName(host), 64, []string{"default"}, defaultEndpoint
	f.ttl, f.poll, f.shutdownTimeout = 10*time.Second, 400*time.Millisecond, 30*time.Second
	flags.Var(textValue{&f.node, isName}, "node", "name of this node")
	flags.Var(numberValue[int]{&f.maxRunning, 1, mostRunning}, "max-running", "processes at a time")
	flags.Var(list(&f.queues, isServed), "queues", "queues to serve, each as NAME, or NAME=N for at most N processes of it at a time")
	flags.Var(durationValue{to: &f.ttl, least: time.Second, most: 24 * time.Hour, whole: time.Second}, "ttl",
		"how long after its last sign of life others may take over; whole seconds, and etcd may raise it (by default to 2s)")
	flags.Var(durationValue{to: &f.poll, least: time.Millisecond}, "poll", "how often to look without being told to")
	flags.Var(list(&f.allow, eachOf(kindExec, kindHTTP)), "allow", "kinds that reach outside and may run here: exec,http")
	flags.Var(durationValue{to: &f.shutdownTimeout}, "shutdown-timeout", "how long attempts may go on after SIGTERM")
	flags.BoolVar(&f.witness, "witness", true, "a small process beside the node ends its commands and its session when it dies, so that others take over at once; exec needs it")
	flags.Var(textValue{&f.logDir, notEmpty}, "log-dir", "directory for the whole output of commands, which drover never deletes")
	flags.Var(textValue{&f.http, isAddressIfAny}, "http", "where to tell how the node is, as GET /healthz and /readyz, such as 127.0.0.1:8080; it asks nobody who they are; off if empty")
	flags.Var(textValue{&f.listen, isAddress}, "etcd-listen", "where the embedded etcd serves clients; port 0 takes a free one")
	return cmd
}

// legalName makes a node's name out of a host's.
func legalName(host string) string {
	name := strings.Map(func(r rune) rune {
		if registry.CheckName("node", string(r)) != nil {
			return '-'
		}
		return r
	}, host)
	return name[:min(len(name), 64)]
}

func (f serveFlags) check(listenGiven, external bool) error {
	var errs []error
	if !f.witness && slices.Contains(f.allow, kindExec) {
		errs = append(errs, errors.New("--witness=false does not go with --allow exec: nothing would end the commands of a node that is gone"))
	}
	if f.logDir != "" && !slices.Contains(f.allow, kindExec) {
		errs = append(errs, errors.New("--log-dir goes with --allow exec: only commands have logs"))
	}
	if listenGiven && external {
		errs = append(errs, errors.New("--etcd-listen does not go with --endpoints"))
	}
	if f.poll > f.ttl {
		errs = append(errs, fmt.Errorf("--poll %s: it must not be more than --ttl, which is %s", brisk(f.poll), brisk(f.ttl)))
	}
	_, _, err := servedQueues(f.queues)
	return errors.Join(append(errs, err)...)
}

func (c *cli) serve(ctx context.Context, f serveFlags) error {
	logDir, err := makeLogDir(f.logDir)
	if err != nil {
		return fmt.Errorf("--log-dir: %w", err)
	}
	log := c.logger(zapcore.InfoLevel)
	w, err := c.witness(f, log)
	if err != nil {
		return err
	}
	if w != nil {
		defer closeWitness(w, log)
	}
	asked, unasked := signals()
	defer unasked()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	starting := make(chan struct{})
	go func() { // a signal during start-up ends it
		select {
		case s := <-asked:
			cancel(&signalled{s})
		case <-starting:
		}
	}()
	health, err := serveHTTP(ctx, f.http, log)
	if err != nil {
		return err
	}
	defer health.close()
	h, err := c.openAlone(ctx, f.listen, log)
	if err == nil {
		defer h.close()
		h.witness = w
		err = h.startNode(ctx, f.config(), f.allow, kinds.ExecOptions{Env: kinds.ServeEnv(os.Environ()), LogDir: logDir})
	}
	close(starting)
	if s, ok := errors.AsType[*signalled](context.Cause(ctx)); ok {
		log.Info("stopped while starting", zap.Stringer("signal", s.signal))
		return nil
	}
	if err != nil {
		return err
	}
	health.tells(h.node)
	if err := c.ready(f.node, h.endpoints); err != nil {
		return err
	}
	return c.untilStopped(h, asked, f.shutdownTimeout, log)
}

// witness comes before all else: where this process is number 1 of a container,
// it becomes the witness, and the node another one. It is nil if there is to be
// none, or the system can't have one and no kind depends on it.
func (c *cli) witness(f serveFlags, log *zap.Logger) (*supervisor.WitnessLink, error) {
	if !f.witness {
		return nil, nil
	}
	w, err := supervisor.Witness(supervisor.WitnessOptions{Logger: log})
	if errors.Is(err, supervisor.ErrNoWitness) && !slices.Contains(f.allow, kindExec) {
		log.Warn("there is no witness on this system: should this process die, others take over when the TTL is over")
		return nil, nil
	}
	return w, err
}

// closeWitness is for one that may have been closed with a host.
func closeWitness(w *supervisor.WitnessLink, log *zap.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	if err := w.Close(ctx); err != nil {
		log.Warn("the witness did not end cleanly", zap.Error(err))
	}
}

// makeLogDir makes the directory and tries it, so that one that can't be
// written is found out now and not by the loss of logs.
func makeLogDir(dir string) (absolute string, err error) {
	if dir == "" {
		return "", nil
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	if err = os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	probe, err := os.CreateTemp(dir, ".probe-")
	if err != nil {
		return "", err
	}
	return dir, errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// signalled is why a context ended.
type signalled struct{ signal os.Signal }

func (s *signalled) Error() string { return s.signal.String() }

// ready tells scripts that the node takes work.
func (c *cli) ready(node string, endpoints []string) error {
	if c.json() {
		return c.printJSON(struct {
			Event     string   `json:"event"`
			Node      string   `json:"node"`
			Endpoints []string `json:"endpoints"`
		}{"ready", node, endpoints})
	}
	c.hint("ready node=%s endpoints=%s", node, strings.Join(endpoints, ","))
	return nil
}

// untilStopped waits for a signal, for the end of the node, or for that of
// its etcd.
func (c *cli) untilStopped(h *host, asked <-chan os.Signal, patience time.Duration, log *zap.Logger) error {
	select {
	case s := <-asked:
		log.Info("stopping", zap.Stringer("signal", s), zap.Duration("patience", patience))
		return h.stopNode(asked, patience)
	case <-h.node.Done():
		return fmt.Errorf("the node ended: %w", h.node.Err())
	case err := <-h.serverErr():
		return errors.Join(fmt.Errorf("the embedded etcd ended: %w", err), h.stopNode(asked, 0))
	}
}

func (f serveFlags) config() supervisor.Config {
	names, limits, _ := servedQueues(f.queues) // checked before
	return supervisor.Config{
		Node: f.node, Queues: names, QueueLimits: limits, MaxRunning: f.maxRunning, TTL: f.ttl, Poll: f.poll, Version: version,
	}
}
