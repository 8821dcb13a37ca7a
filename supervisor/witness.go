package supervisor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"go.uber.org/zap"
)

var (
	// ErrNoWitness is what Witness returns on systems other than Linux and macOS.
	ErrNoWitness = errors.New("supervisor: this system has no process groups")

	// ErrWitnessGone is returned by Start when there is no witness and none was to be had within 5 seconds, or after
	// Close. Nothing was started.
	ErrWitnessGone = errors.New("supervisor: the witness is gone")

	// ErrWitnessRefused is returned by Start when the witness will not watch the group: the deadline of the session has
	// passed or was never told. Nothing was started.
	ErrWitnessRefused = errors.New("supervisor: the witness refused to watch the command")

	// ErrWitnessSilent is returned when the witness lives but has not answered within 5 seconds. Nothing was started.
	ErrWitnessSilent = errors.New("supervisor: the witness does not answer")
)

// WitnessOptions are for Witness.
type WitnessOptions struct {
	// Logger is told when the witness dies and when there is another, which commands it has killed, and which do not die.
	// Nil: nobody is.
	Logger *zap.Logger
}

// WitnessAccess is how a witness reaches etcd, to end the session of a node that is dead. It travels to the witness
// through a socket and is in no file, environment or argument.
type WitnessAccess struct {
	Endpoints          []string // none: the witness does not end the session
	Username, Password string
	// CA, Cert and Key are contents, in PEM. Without CA it is the system's that counts. Key is not encrypted.
	CA, Cert, Key []byte
	// ServerName is what the servers' certificates are for, if it is not their host in Endpoints.
	ServerName string
}

// GroupCommand is a command that WitnessLink.Start runs, alone in a process group. Path and Args are as for os.StartProcess:
// nothing is looked up in PATH. No string may hold a NUL.
type GroupCommand struct {
	// Session is the session (its sid) with whose deadline the group ends. "": it ends with the node alone.
	Session string

	Path string   // a relative one counts from Dir
	Args []string // with the command's name as the first
	Env  []string // all of it
	Dir  string   // "": the node's own

	// Stdin, Stdout and Stderr stay the caller's, and can be closed when Start has returned. Nil is /dev/null.
	Stdin, Stdout, Stderr *os.File
}

func (c GroupCommand) validate() error {
	for _, s := range append(append([]string{c.Path, c.Dir}, c.Args...), c.Env...) {
		for i := range len(s) {
			if s[i] == 0 {
				return &GateError{Op: "exec", Path: c.Path, Err: syscall.EINVAL}
			}
		}
	}
	if !oneWord(c.Session) {
		return fmt.Errorf("the session %q is no session's id", c.Session)
	}
	if c.Path == "" || len(c.Args) == 0 {
		return &GateError{Op: "exec", Path: c.Path, Err: syscall.ENOENT}
	}
	return nil
}

// oneWord says whether the name of a session can be told to a witness.
func oneWord(session string) bool {
	return !strings.ContainsFunc(session, func(r rune) bool { return r <= ' ' || unicode.IsSpace(r) })
}

// GateError says why a command could not be executed, as the system said it. The command has not run.
type GateError struct {
	Op   string        // "exec", or "chdir" if it was its directory
	Path string        // the file or the directory
	Err  syscall.Errno // ENOENT of an exec may also mean the interpreter that a script names
}

func (e *GateError) Error() string { return e.Op + " " + strconv.Quote(e.Path) + ": " + e.Err.Error() }

func (e *GateError) Unwrap() error { return e.Err }
