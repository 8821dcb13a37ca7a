package runner

// LimitOrphans is for tests that can't make a thousand orphans.
func (r *Runner) LimitOrphans(n int) { r.orphanLimit = n }
