package gate

import "syscall"

// dieWithParent has the kernel kill this process when its parent's thread ends. It survives exec, except of a set-uid
// program, and no fork. It may fail without harm: it is a belt, the witness is the braces.
func dieWithParent() {
	// Package unix has a function for it, and is initialised too late.
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0)
}
