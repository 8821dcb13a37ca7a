//go:build linux || darwin

package supervisor

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/supervisor/internal/witness"
)

// charges is all that a witness has to know. It outlives the witness, so that the next one can be told.
type charges struct {
	mu        sync.Mutex // guards all below
	deadlines map[string]time.Duration
	groups    map[int64]charge
	wills     map[string]string
	willed    []string             // the sessions in wills, the oldest first
	answers   map[int64]chan error // owed by the witness; of a group too that it has killed and we have forgotten
	last      int64                // number given to a group: pids are used again, these are not
	outbox    *outbox              // of the witness that lives; nil while there is none
}

// charge is a group that has to be watched. Its leader has not been reaped.
type charge struct {
	pgid    int
	start   uint64
	session string
}

func newCharges() *charges {
	return &charges{deadlines: map[string]time.Duration{}, groups: map[int64]charge{}, wills: map[string]string{}, answers: map[int64]chan error{}}
}

func (c *charges) setDeadline(session string, at time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.deadlines[session]; !known {
		c.dropPassed(lease.Boottime())
	}
	c.deadlines[session] = at
	if c.outbox != nil {
		c.outbox.setDeadline(session, at)
	}
}

// maxWills bounds what a process leaves that loses its sessions again and again; those that live stay. A lost one may still matter: what it held
// is orphaned, and the proof that its node is dead decides what becomes of owner-bound work.
const maxWills = 8

// setWill leaves what is to be said in etcd of a session once this process is dead.
func (c *charges) setWill(session, will string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.wills[session]; !known {
		c.willed = append(c.willed, session)
	}
	c.wills[session] = will
	c.say(witness.WordWill, session, will)
	if len(c.willed) > maxWills {
		now := lease.Boottime()
		for _, old := range c.willed[:len(c.willed)-1] {
			if at, known := c.deadlines[old]; !known || at < now {
				c.revoke(old)
				return
			}
		}
	}
}

// revokeWill is for a session that has ended as it should.
func (c *charges) revokeWill(session string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoke(session)
}

// revoke needs mu.
func (c *charges) revoke(session string) {
	if _, known := c.wills[session]; known {
		delete(c.wills, session)
		c.willed = slices.DeleteFunc(c.willed, func(s string) bool { return s == session })
		c.say(witness.WordRevoke, session)
	}
}

// say needs mu.
func (c *charges) say(words ...string) {
	if c.outbox != nil {
		c.outbox.add(witness.Line(words...))
	}
}

// dropPassed forgets the deadlines of sessions that are over and have no group left.
func (c *charges) dropPassed(now time.Duration) {
	used := map[string]bool{}
	for _, g := range c.groups {
		used[g.session] = true
	}
	for session, at := range c.deadlines {
		if at < now && !used[session] {
			delete(c.deadlines, session)
		}
	}
}

// add tells of a new group. The answer is nil once the witness watches it.
func (c *charges) add(pgid int, start uint64, session string) (number int64, answer <-chan error) {
	if session == "" {
		session = witness.NoSession
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	c.groups[c.last] = charge{pgid: pgid, start: start, session: session}
	if c.outbox == nil {
		gone := make(chan error, 1)
		gone <- ErrWitnessGone
		return c.last, gone
	}
	return c.last, c.ask(c.last)
}

// ask tells the living witness of a group. It is called with mu held.
func (c *charges) ask(number int64) <-chan error {
	answer := make(chan error, 1)
	c.answers[number] = answer
	g := c.groups[number]
	c.outbox.add(witness.Line(witness.WordGroup, strconv.FormatInt(number, 10), strconv.Itoa(g.pgid),
		strconv.FormatUint(g.start, 10), g.session))
	return answer
}

// forget is for a group of which nothing is left, before its leader is reaped.
func (c *charges) forget(number int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.groups, number)
	c.say(witness.WordForget, strconv.FormatInt(number, 10))
}

func (c *charges) find(number int64) (charge, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, ok := c.groups[number]
	return g, ok
}

func (c *charges) answer(number int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer, owed := c.answers[number]; owed {
		answer <- err
		delete(c.answers, number)
	}
}

// leave is called when the witness that had this outbox is gone.
func (c *charges) leave(o *outbox) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.outbox != o {
		return
	}
	c.outbox = nil
	for _, answer := range c.answers {
		answer <- ErrWitnessGone
	}
	clear(c.answers)
}

// handTo tells a new witness everything and waits until it watches what is left.
func (c *charges) handTo(ctx context.Context, w *beside) error {
	c.mu.Lock()
	c.outbox = w.outbox
	for session, at := range c.deadlines {
		w.outbox.setDeadline(session, at)
	}
	var answers []<-chan error
	for number := range c.groups {
		answers = append(answers, c.ask(number))
	}
	// Last, for this process may end at any time: who says that it is dead says that nothing of the groups is left.
	for session, will := range c.wills {
		c.say(witness.WordWill, session, will)
	}
	c.mu.Unlock()
	for _, answer := range answers {
		// It may refuse a group that has ended meanwhile, or is to be killed as its deadline has passed.
		if err := w.await(ctx, answer); err != nil && !errors.Is(err, ErrWitnessRefused) {
			return err
		}
	}
	return nil
}

// await waits for the witness's answer about a group. That of the next one, which is told of it too, does not count
// here: it may be on no record yet.
func (w *beside) await(ctx context.Context, answer <-chan error) error {
	patience := time.NewTimer(witnessPatience)
	defer patience.Stop()
	select {
	case err := <-answer:
		select {
		case <-w.done: // the next one begins only then
			return ErrWitnessGone
		default:
			return err
		}
	case <-w.done:
		return ErrWitnessGone
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-patience.C:
		return ErrWitnessSilent
	}
}
