package witness

// Process is what the system says about one.
type Process struct {
	PID, Parent, Group int

	// Start is when it started, in units of the system's own: with PID it names one process of this boot.
	Start uint64

	// Dead: it runs no more, and only waits to be reaped.
	Dead bool
}
