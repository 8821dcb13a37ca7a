//go:build linux || darwin

package witness

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A letter is what a node has written to etcd for the time when it is dead, down to the last byte but for the time of
// its death. A witness can post it though it knows nothing of etcd, which saves the start of the whole program. That one
// is for letters that etcd does not agree to, and for an etcd that wants certificates or a password: for it there are
// none.
type letter struct {
	addresses []string // of etcd, in the order in which they are tried
	at        int      // where the time goes
	content   []byte   // all that is sent over one connection: HTTP/2
}

const (
	// letterPatience is how long one address gets to agree, and lettersPatience all of them for all letters.
	letterPatience  = 200 * time.Millisecond
	lettersPatience = 400 * time.Millisecond
)

// parseLetter takes what follows the will on its line. A letter that makes no sense is none: there is the will.
func parseLetter(words []string) (letter, bool) {
	if len(words) != 3 {
		return letter{}, false
	}
	at, err := strconv.Atoi(words[1])
	if err != nil || at < 0 {
		return letter{}, false
	}
	content, err := base64.RawStdEncoding.DecodeString(words[2])
	if err != nil || at+len(TimeLayout) > len(content) {
		return letter{}, false
	}
	return letter{addresses: strings.Split(words[0], ","), at: at, content: content}, true
}

// Post posts the letter that words are, if they are one, and says whether etcd has done what it asks for. It gives up
// at the limit, by Now.
func Post(words []string, died time.Time, limit time.Duration) bool {
	l, ok := parseLetter(words)
	if !ok {
		return false
	}
	copy(l.content[l.at:], died.UTC().Format(TimeLayout))
	for _, address := range l.addresses {
		p := post{until: min(Now()+letterPatience, limit)}
		if answer, answered := p.deliver(address, l.content); answered {
			return agrees(answer)
		}
	}
	return false
}

// post is one connection.
type post struct {
	fd    int
	until time.Duration // by Now: later it fails
}

var errLate = errors.New("late")

func (p *post) deliver(address string, content []byte) (answer []byte, answered bool) {
	if err := p.connect(address); err != nil {
		return nil, false
	}
	defer func() { _ = unix.Close(p.fd) }() // what was to be read was read
	for len(content) > 0 {
		n, err := p.do(unix.POLLOUT, func() (int, error) { return unix.Write(p.fd, content) })
		if err != nil {
			return nil, false
		}
		content = content[n:]
	}
	var received []byte
	buf := make([]byte, 4<<10)
	for {
		n, err := p.do(unix.POLLIN, func() (int, error) { return unix.Read(p.fd, buf) })
		if err != nil || n == 0 {
			return nil, false
		}
		received = append(received, buf[:n]...)
		if answer, whole := findAnswer(received); whole {
			return answer, len(answer) > 0 // a refusal may be of this member only
		}
	}
}

func (p *post) connect(address string) error {
	family, to, err := sockaddr(address)
	if err != nil {
		return err
	}
	p.fd, err = unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	unix.CloseOnExec(p.fd)
	if err = unix.SetNonblock(p.fd, true); err == nil {
		err = unix.Connect(p.fd, to)
	}
	if errors.Is(err, unix.EINPROGRESS) {
		err = p.ready(unix.POLLOUT) // that it failed the write says
	}
	if err != nil {
		_ = unix.Close(p.fd)
	}
	return err
}

func (p *post) do(event int16, try func() (int, error)) (int, error) {
	for {
		n, err := try()
		switch {
		case errors.Is(err, unix.EAGAIN):
			if err := p.ready(event); err != nil {
				return 0, err
			}
		case !errors.Is(err, unix.EINTR):
			return n, err
		}
	}
}

func (p *post) ready(event int16) error {
	for {
		left := p.until - Now()
		if left <= 0 {
			return errLate
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: event}}, milliseconds(left))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n > 0:
			return nil
		}
	}
}

var errAddress = errors.New("no address")

func sockaddr(address string) (family int, to unix.Sockaddr, err error) {
	if path, ok := strings.CutPrefix(address, AddressUnix); ok {
		return unix.AF_UNIX, &unix.SockaddrUnix{Name: path}, nil
	}
	rest, ok := strings.CutPrefix(address, AddressIP)
	host, port, found := strings.Cut(rest, ":")
	number, err := strconv.ParseUint(port, 10, 16)
	var ip [16]byte
	if !ok || !found || err != nil || len(host) != 2*len(ip) {
		return 0, nil, errAddress
	}
	for i := range ip {
		b, err := strconv.ParseUint(host[2*i:2*i+2], 16, 8)
		if err != nil {
			return 0, nil, errAddress
		}
		ip[i] = byte(b)
	}
	if four, mapped := bytes.CutPrefix(ip[:], []byte{10: 0xff, 11: 0xff}); mapped {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(number), Addr: [4]byte(four)}, nil
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(number), Addr: ip}, nil
}
