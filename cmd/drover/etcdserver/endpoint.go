package etcdserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"syscall"
)

// resolve reads a host:port to listen on. etcd takes addresses only, so a name
// is looked up here; no host at all means every IPv4 address of the machine.
// It returns nil for "".
func resolve(ctx context.Context, listen string) (*net.TCPAddr, error) {
	if listen == "" {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("--etcd-listen %q: want host:port: %w", listen, err)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return nil, fmt.Errorf("--etcd-listen %q: %w", listen, err)
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("--etcd-listen %q: %w", listen, err)
	}
	best := ips[0]
	for _, ip := range ips {
		if ip.IP.To4() != nil {
			best = ip // "localhost" is 127.0.0.1, as everybody writes it
			break
		}
	}
	return &net.TCPAddr{IP: best.IP, Zone: best.Zone, Port: n}, nil
}

// probe listens for a moment: before etcd touches anything, so that a taken
// port leaves nothing half made, and to learn which port 0 stands for, which
// etcd has to be told beforehand.
func probe(addr *net.TCPAddr, asked string) (*net.TCPAddr, error) {
	if addr == nil {
		return nil, nil
	}
	l, err := net.ListenTCP("tcp", addr)
	if err != nil {
		return nil, listenError(err, asked)
	}
	defer l.Close()
	return &net.TCPAddr{IP: addr.IP, Zone: addr.Zone, Port: l.Addr().(*net.TCPAddr).Port}, nil
}

func listenError(err error, asked string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return &PortError{Addr: asked}
	}
	return fmt.Errorf("listen for clients on %s: %w", asked, err)
}

// tcpURL is where to listen.
func tcpURL(a *net.TCPAddr) url.URL {
	return url.URL{Scheme: "http", Host: a.String()}
}

// localURL is where clients on this machine find a: by the loopback address if
// it listens on all of them.
func localURL(a *net.TCPAddr) url.URL {
	host := a.IP
	switch {
	case !host.IsUnspecified():
		return tcpURL(a)
	case host.To4() != nil:
		host = net.IPv4(127, 0, 0, 1)
	default:
		host = net.IPv6loopback
	}
	return url.URL{Scheme: "http", Host: net.JoinHostPort(host.String(), strconv.Itoa(a.Port))}
}

func socketURL(dir, name string) url.URL {
	return url.URL{Scheme: "unix", Path: filepath.Join(dir, name)}
}
