package main

import (
	"net"
	"testing"
	"time"
)

// By gRPC's own measure the tenth try comes after two minutes.
func TestClientTriesToConnectEverySecondOrSo(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tries := make(chan time.Time)
	go func() {
		defer close(tries)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
			tries <- time.Now()
		}
	}()
	defer func() {
		_ = l.Close()
		for range tries { // until nobody accepts any more
		}
	}()
	g := globalFlags{endpoints: []string{"http://" + l.Addr().String()}}
	client, err := g.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.ActiveConnection().Connect()
	limit := time.After(30 * time.Second)
	var first, last time.Time
	for i := range 10 {
		select {
		case last = <-tries:
		case <-limit:
			t.Fatalf("%d tries in 30 s, want 10", i)
		}
		if i == 0 {
			first = last
		}
	}
	if took := last.Sub(first); took < 2*time.Second {
		t.Errorf("ten tries in %s: it is to rest between them", took)
	}
}
