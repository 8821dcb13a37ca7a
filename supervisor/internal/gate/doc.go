// Package gate is the process that waits in a command's place until the command may run.
//
// A command's process is first this program, started again: alone in its process group, it waits on a socket for the
// order to become the command. The node sends the order once its witness has acknowledged the group, so no command ever
// runs unwatched. If the node ends first, the socket does too and the gate exits. The command has the gate's pid, and
// inherits nothing of it.
//
// # Why in an init function
//
// The program around this package holds an etcd server, gRPC and Protocol Buffers, which take 37 ms to initialise before
// main where this package takes over after 12 (of which a Go program that does nothing needs 5). It gets its turn so
// early because it imports next to nothing: the Go runtime initialises a package as soon as its imports are, in the order
// of their paths. So nothing but errors, os, strconv and syscall may be imported here; not even strings, whose tables of Unicode
// come later. Were the order another one, everything would still work, only slower.
//
// It also means that no program has to call anything first, and that one which forgot to can't start copies of itself
// for ever.
package gate
