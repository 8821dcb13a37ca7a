package registry

// worlds are the bounds within which everything is explored, a feature or two
// at a time. All of it at once (three incarnations, three calls) holds too, but
// takes minutes.
func worlds() []world {
	p := []string{"p"}
	one := []session{{"a1", ""}}
	two := []session{{"a1", ""}, {"b1", ""}}
	again := []session{{"a1", ""}, {"a2", "a1"}}
	return []world{
		{name: "a paused queue", ids: p, sessions: one, calls: 2, late: true, paused: true},
		{name: "no room", ids: p, calls: 2, disposition: External, series: 2, fills: true},
		{name: "no room for what runs", ids: p, sessions: one, calls: 1, late: true, fills: true},
		{name: "a meddled session", ids: p, sessions: one, calls: 2, meddled: true, unclaims: true},
		{name: "two meddled sessions", ids: p, sessions: two, calls: 1, meddled: true},
		{name: "a pruner", ids: p, sessions: one, calls: 2, pruned: true},
		{name: "a pruner of series", ids: p, sessions: one, calls: 1, pruned: true, series: 2},
		{name: "three calls at once", ids: p, sessions: one, calls: 3},
		{name: "two nodes", ids: p, sessions: two, calls: 2},
		{name: "a node that restarts", ids: p, sessions: again, calls: 2},
		{name: "two processes", ids: []string{"p", "q"}, sessions: two, calls: 1, uncancelled: true},

		{name: "an orphan beside a paused queue", ids: p, sessions: two, calls: 1, paused: true},
		{name: "a process that kills nodes", ids: p, sessions: append(two, session{"a2", "a1"}), calls: 1, maxAdoptions: 2, uncancelled: true},
		{name: "a node that comes back", ids: p, sessions: append(again, session{"b1", ""}), calls: 1, maxAdoptions: 2, comesBack: true, uncancelled: true},
		{name: "a node that comes back to what is owner-bound", ids: p, sessions: again, calls: 1, disposition: OwnerBound, comesBack: true, testifies: true, uncancelled: true},
		{name: "owner-bound", ids: p, sessions: one, calls: 2, disposition: OwnerBound, abandons: true, testifies: true},
		{name: "owner-bound and two nodes", ids: p, sessions: two, calls: 1, disposition: OwnerBound, abandons: true, testifies: true},
		{name: "external", ids: p, calls: 3, disposition: External, abandons: true, deadline: true, series: 2},
		{name: "handed off", ids: p, sessions: one, calls: 2, handsOff: true, abandons: true},
		{name: "abandoned", ids: p, sessions: one, calls: 2, abandons: true},
		{name: "a deadline", ids: p, sessions: one, calls: 2, deadline: true},
		{name: "a deadline of what is owner-bound", ids: p, sessions: one, calls: 1, disposition: OwnerBound, deadline: true, abandons: true},
		{name: "opened again", ids: p, sessions: one, calls: 2, series: 2},
		{name: "progress and steps", ids: p, sessions: one, calls: 2, writes: true, uncancelled: true},
		{name: "put back", ids: p, sessions: one, calls: 2, unclaims: true, abandons: true, deadline: true},
		{name: "a meddled session that writes", ids: p, sessions: one, calls: 1, meddled: true, handsOff: true, writes: true, uncancelled: true},
		{name: "all of it and one session", large: true, ids: p, sessions: one, calls: 1, late: true, deadline: true, handsOff: true, abandons: true, writes: true, series: 2},
		{name: "all of it and a node that restarts", large: true, ids: p, sessions: again, calls: 1, deadline: true, handsOff: true, abandons: true, series: 2},
	}
}
