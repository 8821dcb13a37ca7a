package lease

import (
	"fmt"
	"os"
)

// Identity names one process of one machine, so that another process can tell
// whether it has ended. It is written into etcd, where its fields are read by
// nodes of other machines, which can tell nothing from it and know that.
//
// What the system could not tell is empty or zero, and then proves nothing.
type Identity struct {
	Host string `json:"host"`
	// BootID changes with every boot of the machine.
	BootID string `json:"boot_id"`
	// PIDNamespace says among which processes PID is a number, and by which
	// clock StartTime is one. It is opaque: only equality has a meaning.
	PIDNamespace string `json:"pid_namespace"`
	PID          int    `json:"pid"`
	// StartTime is in ticks of the kernel's, 10 ms mostly, since boot.
	StartTime uint64 `json:"start_time"`
}

// Self is the identity of this process.
func Self() Identity {
	i := here()
	i.PID = os.Getpid()
	i.StartTime, _ = startTime(i.PID) // 0 if unknown, which proves nothing
	return i
}

// Of is the identity of the process with this id, as this process sees it. The
// error says that there is none, or that the system cannot tell.
func Of(pid int) (Identity, error) {
	if pid <= 0 {
		return Identity{}, fmt.Errorf("identity of process %d: not the id of a process", pid)
	}
	i := here()
	i.PID = pid
	var err error
	if i.StartTime, err = startTime(pid); err != nil {
		return Identity{}, fmt.Errorf("identity of process %d: %w", pid, err)
	}
	return i, nil
}

// here is what all processes have in common that this one can judge.
func here() Identity {
	host, _ := os.Hostname() // empty if unknown, which proves nothing
	boot, namespace := kernel()
	return Identity{Host: host, BootID: boot, PIDNamespace: namespace}
}

// judgedHere reports whether this process's kernel can speak of i's process:
// it is the same boot of the same machine, and the number means the same.
func (i Identity) judgedHere() bool {
	h := here()
	return i.PID > 0 &&
		i.Host != "" && i.Host == h.Host &&
		i.BootID != "" && i.BootID == h.BootID &&
		i.PIDNamespace != "" && i.PIDNamespace == h.PIDNamespace
}
