//go:build linux || darwin

package gate

import (
	"errors"
	"os"
	"strconv"
	"syscall"
)

// name is argument zero of a gate. Nothing else says what it is: an environment variable would be inherited by the
// command.
const name = "drover-gate"

// conn is a stream socket to the node.
const conn = 3

// Args are the arguments of a gate that the process node starts. Its descriptor 3 is one end of a stream socket. It acts
// once the other end has been shut down for writing, or has gone.
func Args(node int) []string { return []string{name, strconv.Itoa(node)} }

// Environ is the environment of a gate: it needs one thread at a time. The command's comes with the order.
func Environ() []string { return []string{"GOMAXPROCS=1"} }

func init() {
	args := os.Args //nolint:forbidigo // this is in front of main, which could hand them in
	if len(args) != 2 || args[0] != name {
		return
	}
	if node, err := strconv.Atoi(args[1]); err == nil {
		wait(node)
	}
	// Of package syscall: os.Exit would write coverage data, and complain on the command's standard error if it can't.
	syscall.Exit(1)
}

// wait returns if the gate did not become the command. The runtime runs init functions on the main thread alone, and
// both the parent-death signal and exec are a thread's.
func wait(node int) {
	syscall.CloseOnExec(conn)
	dieWithParent()
	// It may have died before that call. (Should it be process 1 of a container, its end is everybody's.)
	if syscall.Getppid() != node {
		return
	}
	received, err := readAll()
	if err != nil {
		return
	}
	order, whole := DecodeOrder(received)
	if !whole {
		return // the node is gone, or has thought better of it
	}
	if order.Dir != "" {
		if err := syscall.Chdir(order.Dir); err != nil {
			fail(Chdir, err)
			return
		}
	}
	say(string(ready))
	fail(Exec, syscall.Exec(order.Path, order.Args, order.Env))
}

func readAll() (received []byte, err error) {
	buf := make([]byte, 32<<10)
	for {
		n, err := syscall.Read(conn, buf)
		switch {
		case errors.Is(err, syscall.EINTR):
		case n == 0, err != nil:
			return received, err
		default:
			received = append(received, buf[:n]...)
		}
	}
}

func fail(step Step, err error) {
	errno, _ := errors.AsType[syscall.Errno](err) // neither call returns anything else
	say(string(step) + strconv.Itoa(int(errno)))
}

// say ignores errors: if nobody listens any more, nobody needs to know.
func say(words string) {
	for {
		if _, err := syscall.Write(conn, []byte(words)); !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}
