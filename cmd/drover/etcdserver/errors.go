package etcdserver

import "fmt"

// InUseError says that another process has the data directory.
type InUseError struct {
	Dir   string
	PID   int   // 0 if the holder does not say who it is
	State State // what the holder says of itself, "" if nothing

	// Silent: it says that it serves, and does not answer.
	Silent bool
}

func (e *InUseError) Error() string {
	who := "another program"
	if e.PID != 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	if e.Silent {
		return fmt.Sprintf("the data directory %s is served by %s, which does not answer: "+
			"let it go on if it was stopped (kill -CONT), or end it, or choose another --data-dir", e.Dir, who)
	}
	if e.State != "" {
		who += " (" + string(e.State) + ")"
	}
	return fmt.Sprintf("the data directory %s is in use by %s: stop it, or choose another --data-dir", e.Dir, who)
}

// PortError says that another program listens where clients were to be served.
type PortError struct {
	Addr string // as asked for
}

func (e *PortError) Error() string {
	return fmt.Sprintf("%s is taken by another program: "+
		"use --etcd-listen 127.0.0.1:0 (any free port), or another port", e.Addr)
}

// FatalError says that etcd gave up: its data is damaged, or the disk failed.
// Nothing that was acknowledged before is undone by it.
type FatalError struct {
	Dir string // the data directory
	Msg string // etcd's own words
	Err error  // the cause, if etcd names one
}

func (e *FatalError) Error() string {
	s := fmt.Sprintf("etcd gave up on the data directory %s: %s", e.Dir, e.Msg)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *FatalError) Unwrap() error { return e.Err }
