//go:build linux || darwin

package witness

// Members lists who is in a process group, zombies included. Only after a SIGKILL to the group is an answer without
// living members final: else one that was just being born may be missing from it.
func Members(pgid int) ([]Process, error) {
	members, err := census()
	return members[pgid], err
}

// census lists all processes that this one can see, by their group.
func census() (map[int][]Process, error) {
	groups := map[int][]Process{}
	err := eachProcess(func(p Process) {
		groups[p.Group] = append(groups[p.Group], p)
	})
	return groups, err
}
