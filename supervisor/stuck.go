package supervisor

import (
	"fmt"
	"strings"
)

// StuckError names processes whose handlers did not return although their
// contexts had ended. The node is closed all the same and its session is over,
// so that others run these processes again, while the handlers may still be
// at work here: only the fence tells their effects apart.
type StuckError struct{ Processes []string }

func (e *StuckError) Error() string {
	const shown = 10
	ids := e.Processes
	more := ""
	if len(ids) > shown {
		ids, more = ids[:shown], fmt.Sprintf(" and %d more", len(e.Processes)-shown)
	}
	return fmt.Sprintf("%d handlers ignore that their contexts ended: %s%s", len(e.Processes), strings.Join(ids, ", "), more)
}
