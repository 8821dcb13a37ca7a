package etcdserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
)

// limit is far more than anything here takes, as tests of several packages may
// share two cores.
const limit = 60 * time.Second

// The test binary is also the program that holds a data directory in another
// process: it is run again with these set.
const (
	helperVar = "ETCDSERVER_TEST_HELPER"
	dirVar    = "ETCDSERVER_TEST_DIR"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(helperVar); mode != "" {
		os.Exit(helperMain(mode, os.Getenv(dirVar)))
	}
	goleak.VerifyTestMain(m)
}

// said is what the helper tells its test, a line for each step.
type said struct {
	Endpoints []string
	Err       string
	Fatal     bool // Err was a *FatalError
	InUse     *InUseError
}

func say(err error, s *Server) {
	var out said
	if s != nil {
		out.Endpoints = s.Endpoints()
	}
	if err != nil {
		out.Err = err.Error()
	}
	var fatal *FatalError
	out.Fatal = errors.As(err, &fatal)
	errors.As(err, &out.InUse)
	_ = json.NewEncoder(os.Stdout).Encode(out)
}

// helperMain serves until its standard input ends, which it does with the test
// at the latest.
func helperMain(mode, dir string) int {
	ctx := context.Background()
	o := Options{Dir: dir, Listen: "127.0.0.1:0", Logger: zap.Must(zap.NewProduction())}
	s, err := Start(ctx, o)
	say(err, s)
	if err != nil || mode == "try" {
		// In the same process, the directory stays as the failure left it.
		_, err := Start(ctx, o)
		say(err, nil)
		return 1
	}
	if mode == "fatal" {
		go s.etcd.GetLogger().Fatal("failed to save the log", zap.Error(io.ErrShortWrite))
		say(<-s.Err(), nil)
		say(s.Stop(ctx), nil)
		_, err := Start(ctx, o)
		say(err, nil)
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := s.Stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

type helper struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	out    *json.Decoder
	stderr bytes.Buffer
	wait   func() error
}

func startHelper(t *testing.T, mode, dir string) *helper {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h := &helper{t: t, cmd: exec.Command(exe)}
	h.cmd.Env = append(os.Environ(), helperVar+"="+mode, dirVar+"="+dir)
	h.cmd.Stderr = &h.stderr
	h.stdin, err = h.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.out = json.NewDecoder(stdout)
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h.wait = sync.OnceValue(h.cmd.Wait)
	timer := time.AfterFunc(limit, func() { _ = h.cmd.Process.Kill() })
	t.Cleanup(func() {
		timer.Stop()
		h.kill()
	})
	return h
}

// next waits for what the helper says next.
func (h *helper) next() said {
	h.t.Helper()
	var s said
	if err := h.out.Decode(&s); err != nil {
		_ = h.wait()
		h.t.Fatalf("the helper said nothing: %v\n%s", err, h.stderr.String())
	}
	return s
}

func (h *helper) kill() {
	_ = h.cmd.Process.Kill()
	_ = h.wait()
}

// serve starts a server that is stopped with the test.
func serve(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

// eventually waits for what no signal tells of.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	timeout := time.After(limit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-timeout:
			t.Fatalf("not in %v: %s", limit, what)
		case <-tick.C:
		}
	}
}
