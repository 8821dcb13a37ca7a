package undertaker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/drover-run/drover/registry"
)

const (
	// patience is for how long an etcd that does not answer is asked again.
	patience = time.Minute
	// patienceAtop is that where this is process 1 of a container, whose restart waits for it.
	patienceAtop = 3 * time.Second
	// requestTimeout is for one try.
	requestTimeout = 3 * time.Second
)

// bury executes the wills in a descriptor, and returns when all are executed or can't be.
func bury(wills io.Reader) {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT) // as the witness did: whoever sends them means the node
	at := time.Now()
	limit := patience
	if os.Getpid() == 1 {
		limit = patienceAtop
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	content, err := io.ReadAll(wills)
	if err != nil {
		return // nobody is there who could be told
	}
	var executing sync.WaitGroup
	for line := range bytes.Lines(content) {
		w, err := decode(line)
		if err != nil {
			continue // of another version, as when the program's file was replaced
		}
		executing.Go(func() { w.execute(ctx, at) })
	}
	executing.Wait()
}

// execute tries until there is an answer that counts.
func (w Will) execute(ctx context.Context, at time.Time) {
	for name, value := range w.Env {
		_ = os.Setenv(name, value)
	}
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 20*time.Millisecond, time.Second
	for {
		err := w.try(ctx, at)
		if err == nil || errors.Is(err, registry.ErrDenied) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause.NextBackOff()):
		}
	}
}

func (w Will) try(ctx context.Context, at time.Time) error {
	client, err := w.Access.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err = w.Testament.Execute(ctx, client, w.evidence(), at)
	return err
}

func (w Will) evidence() string {
	return "its witness saw process " + strconv.Itoa(w.PID) + " end, and ended all that it had started"
}
