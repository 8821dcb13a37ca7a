package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/drover-run/drover/supervisor"
)

// healthServer tells over HTTP how the node is: GET /healthz and GET /readyz,
// for whoever restarts what is ill and sends work to what is ready. What they
// tell is no secret, but nobody is asked who they are, so it belongs on
// loopback.
type healthServer struct {
	server   *http.Server
	listener net.Listener
	ended    chan struct{} // closed when it serves no more
	node     atomic.Pointer[supervisor.Node]
}

// serveHTTP begins to answer, that the node is not ready at first. It is nil
// without an address.
func serveHTTP(ctx context.Context, addr string, log *zap.Logger) (*healthServer, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		host, _, _ := net.SplitHostPort(addr) // it could be listened on, but for who is there
		return nil, fmt.Errorf("%s is taken by another program: use --http %s for a free port, or name another", addr, net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return nil, notListening(addr, err)
	}
	h := &healthServer{listener: l, ended: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", h.answer(func(h supervisor.Health) bool { return h.Healthy }))
	mux.HandleFunc("GET /readyz", h.answer(func(h supervisor.Health) bool { return h.Ready }))
	h.server = &http.Server{
		Handler: mux, ErrorLog: zap.NewStdLog(zap.NewNop()), MaxHeaderBytes: 16 << 10,
		ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, IdleTimeout: time.Minute,
	}
	go func() {
		defer close(h.ended)
		if err := h.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("health is not served any more", zap.String("http", addr), zap.Error(err))
		}
	}()
	log.Info("health is served", zap.Stringer("http", l.Addr()))
	return h, nil
}

// notListening says why not, without what Go puts before it.
func notListening(addr string, err error) error {
	if _, unknown := errors.AsType[*net.DNSError](err); unknown || errors.Is(err, syscall.EADDRNOTAVAIL) {
		return usage(fmt.Errorf("--http %s: its host must be this machine, or an address of it", addr))
	}
	if system, ok := errors.AsType[syscall.Errno](err); ok {
		err = system
	}
	return fmt.Errorf("--http %s can't be listened at: %w", addr, err)
}

// tells makes the answers those of the node, also when h is nil.
func (h *healthServer) tells(n *supervisor.Node) {
	if h != nil {
		h.node.Store(n)
	}
}

// answer writes the health of the node as one line. Both say all there is, and
// differ in the status alone.
func (h *healthServer) answer(well func(supervisor.Health) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		health := supervisor.Health{Problems: []string{"the node is starting"}}
		if n := h.node.Load(); n != nil {
			health = n.Health()
		}
		var body strings.Builder
		encoder := json.NewEncoder(&body)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(health); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !well(health) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write([]byte(body.String())) // who asked may be gone
	}
}

// close ends it, with a moment for answers that are under way. h may be nil.
func (h *healthServer) close() {
	if h == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if h.server.Shutdown(ctx) != nil {
		_ = h.server.Close() // all that it can say is that a connection was closed
	}
	<-h.ended
}
