package lease

// Gone reports whether the process has certainly ended, and on what evidence,
// in words for people. It is the kernel's answer, and only counts on the same
// host, in the same boot and PID namespace:
//
//   - there is no process of that number, or
//   - the process of that number has another start time, so it is another
//     one, or
//   - the process is a zombie, and the last of its threads.
//
// False proves nothing: it is the answer when the process lives, when it ran
// elsewhere, and when the system cannot tell (always, except on Linux).
//
// The namespace's number may be used again within a boot, but not before the
// last process of the namespace has ended. One case is beyond all this:
// machines that were cloned from one memory snapshot, with their host name,
// share their boot id and could testify for each other. They must not be
// nodes of one cluster, unless a host name is set on each.
func (i Identity) Gone() (evidence string, gone bool) {
	if !i.judgedHere() {
		return "", false
	}
	return i.ended()
}
