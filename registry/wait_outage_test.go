package registry

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/drover-run/drover/lease/etcdtest"
)

// What repeats until etcd answers must not do so for ever.
func TestClosedClientEndsWhatWaitsForEtcd(t *testing.T) {
	server := etcdtest.New(t)
	client := server.Client(t)
	r := registryOn(t, client, Options{RequestTimeout: time.Second})
	start(t, r, "x")
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Wait(context.Background(), "x"); !errors.Is(err, ErrClosed) {
		t.Errorf("waited: %v, want ErrClosed", err)
	}
	_, err := r.Start(context.Background(), Spec{ID: "y", Kind: "k", Disposition: Rerunnable})
	if !errors.Is(err, ErrClosed) || !errors.Is(err, ErrUnresolved) {
		t.Errorf("started: %v, want ErrClosed", err)
	}
}

func TestWaitOutlivesAnOutage(t *testing.T) {
	server := etcdtest.New(t)
	r := registryOn(t, server.Client(t), Options{RequestTimeout: time.Second})
	start(t, r, "x")
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		p, err := r.Wait(ctx, "x")
		if err == nil && p.Status != StatusCancelled {
			err = errors.New(string(p.Status))
		}
		ended <- err
	}()
	brief, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, err := r.Wait(brief, "x")
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrUnavailable) {
		t.Errorf("waited in an outage: %v", err)
	}
	server.Restart()
	if _, err := r.Cancel(ctx, "x", Request{}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
