//go:build linux || darwin

package witness

import (
	"os"
	"strconv"
	"syscall"
)

// name is argument zero of a witness, and what ps shows.
const name = "drover-witness"

// What a witness finds beyond the three standard descriptors.
const (
	connFD = 3 // a socket to the node
	nodeFD = 4 // a pidfd of the node, if Args said so
)

// first is argument one of a witness that is process 1; the arguments of the node follow.
const first = "first"

// Args are the arguments of a witness. Its descriptor 3 is one end of a stream socket, whose other end closes with the
// node; 4 is a pidfd of the node if there is one.
func Args(pidfd bool) []string { return []string{name, strconv.FormatBool(pidfd)} }

// Environ is the environment of a witness: it needs one thread at a time, and nothing that the node's environment holds.
func Environ() []string { return []string{"GOMAXPROCS=1"} }

func init() {
	args := os.Args //nolint:forbidigo // this is in front of main, which could hand them in
	switch {
	case len(args) < 2 || args[0] != name:
	case args[1] == first:
		syscall.Exit(atop(args[2:]))
	case len(args) == 2:
		syscall.Exit(beside(args[1] == "true"))
	}
}
