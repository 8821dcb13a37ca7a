package kinds

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/supervisor"
)

func TestMain(m *testing.M) { etcdtest.Main(m) }

func newWitness(t *testing.T) *supervisor.WitnessLink {
	t.Helper()
	w, err := supervisor.Witness(supervisor.WitnessOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := w.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return w
}

func shell(t *testing.T, script string) *Command {
	t.Helper()
	return &Command{Witness: newWitness(t), Argv: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}}
}

// signalWriter closes ready at the first byte.
type signalWriter struct{ ready chan struct{} }

func newSignalWriter() *signalWriter { return &signalWriter{ready: make(chan struct{})} }

func (w *signalWriter) Write(p []byte) (int, error) {
	select {
	case <-w.ready:
	default:
		close(w.ready)
	}
	return len(p), nil
}

func wantExit(t *testing.T, output ExecOutput, err error, code int, message string) {
	t.Helper()
	exit, ok := errors.AsType[*ExitError](err)
	if !ok || exit.Error() != message {
		t.Errorf("error %v, want the ExitError %q", err, message)
	}
	if output.ExitCode != code {
		t.Errorf("exit code %d, want %d", output.ExitCode, code)
	}
}

func repeat(s string, n int) string { return strings.Repeat(s, n) }
