package registry

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestEndExternalIsForTheDeclaredAuthority(t *testing.T) {
	r := newRegistry(t)
	startExternal(t, r, "theirs", Authority("them"))
	startExternal(t, r, "anybodys")
	done := ExternalEnd{Outcome: Completed, Output: []byte(`{ "n": 1 }`)}
	wantErr(t, r.EndExternal(t.Context(), "theirs", "me", done), ErrAuthority)
	for name, err := range map[string]error{
		"no authority":    r.EndExternal(t.Context(), "theirs", "", done),
		"no name":         r.EndExternal(t.Context(), "theirs", "a b", done),
		"no outcome":      r.EndExternal(t.Context(), "theirs", "them", ExternalEnd{}),
		"abandoned":       r.EndExternal(t.Context(), "theirs", "them", ExternalEnd{Outcome: Abandoned}),
		"no JSON":         r.EndExternal(t.Context(), "theirs", "them", ExternalEnd{Outcome: Completed, Output: []byte(`{`)}),
		"an id of spaces": r.EndExternal(t.Context(), " ", "them", done),
	} {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var large *TooLargeError
	if err := r.EndExternal(t.Context(), "theirs", "them", ExternalEnd{
		Outcome: Completed, Output: []byte(`"` + strings.Repeat("x", 64<<10) + `"`),
	}); !errors.As(err, &large) {
		t.Errorf("too much output: %v", err)
	}
	wants(t, r, "theirs", StatusParked, 0, 0, 0, 0)

	noErr(t, r.EndExternal(t.Context(), "theirs", "them", done))
	p := wants(t, r, "theirs", StatusCompleted, 0, 0, 0, 0)
	if string(p.Output) != `{"n":1}` || p.Evidence == nil || p.Evidence.What != EvidenceAuthority || p.Evidence.By != "them" {
		t.Errorf("it is %+v by %+v", p, p.Evidence)
	}
	noErr(t, r.EndExternal(t.Context(), "anybodys", "whoever", ExternalEnd{Outcome: Failed, Error: "boom", Reason: "broken"}))
	if p := wants(t, r, "anybodys", StatusFailed, 0, 1, 0, 0); p.Error != "boom" || p.OutcomeReason != "broken" {
		t.Errorf("it is %+v", p)
	}
	wantErr(t, r.EndExternal(t.Context(), "theirs", "them", done), ErrEnded)
	wantErr(t, r.EndExternal(t.Context(), "nothing", "them", done), ErrNotFound)
	wantNothingLeft(t, r)
}

func TestEndExternalIsNotForWhatANodeMayRun(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	wantErr(t, r.EndExternal(t.Context(), "p", "me", ExternalEnd{Outcome: Completed}), ErrState)
	claim(t, r, join(t, r, "a"), "p")
	wantErr(t, r.EndExternal(t.Context(), "p", "me", ExternalEnd{Outcome: Completed}), ErrState)
	wants(t, r, "p", StatusRunning, 1, 0, 0, 0)
}

// Whose it is, is decided on what stands there when the end is written: here it
// ends and is opened again for another authority between read and write.
func TestTheAuthorityIsCheckedInTheTransaction(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	s := join(t, r, "n")
	handOff := func(authority string) {
		noErr(t, r.HandOff(t.Context(), claim(t, r, s, "p"), Reference{Authority: authority}))
	}
	start(t, r, "p")
	handOff("first")
	wire.nextWrites(func(send func() error) error {
		noErr(t, r.EndExternal(t.Context(), "p", "first", ExternalEnd{Outcome: Failed}))
		_, err := r.Reopen(t.Context(), "p")
		noErr(t, err)
		handOff("second")
		return send()
	})
	wantErr(t, r.EndExternal(t.Context(), "p", "first", ExternalEnd{Outcome: Completed}), ErrAuthority)
	wants(t, r, "p", StatusParked, 2, 0, 0, 0)
}

func TestWhatIsHandedOffEndsOutside(t *testing.T) {
	for _, disposition := range []Disposition{Rerunnable, OwnerBound} {
		t.Run(string(disposition), func(t *testing.T) {
			r := newRegistry(t)
			_, err := r.Start(t.Context(), Spec{ID: "p", Kind: "k", Disposition: disposition})
			noErr(t, err)
			a := join(t, r, "a")
			c := claim(t, r, a, "p")
			noErr(t, r.Progress(t.Context(), c, []byte(`1`)))
			wantErr(t, r.HandOff(t.Context(), c, Reference{Value: []byte(`{`)}), ErrInvalid)
			wantErr(t, r.HandOff(t.Context(), c, Reference{Authority: "a b"}), ErrInvalid)
			var large *TooLargeError
			if err := r.HandOff(t.Context(), c, Reference{Value: []byte(`"` + strings.Repeat("x", 4<<10) + `"`)}); !errors.As(err, &large) {
				t.Errorf("too large a reference: %v", err)
			}
			noErr(t, r.HandOff(t.Context(), c, Reference{Value: []byte(`{ "batch": 7 }`), Authority: "them"}))
			leave(t, a) // nobody's claim ends with it
			p := wants(t, r, "p", StatusParked, 1, 0, 0, 0)
			if string(p.Reference) != `{"batch":7}` || p.Authority != "them" || p.Disposition != disposition || p.History[0].Error != "handed off" {
				t.Errorf("it is %+v", p)
			}
			if found := pending(t, r); len(found) > 0 {
				t.Errorf("it may be claimed: %+v", found)
			}
			wantErr(t, r.EndExternal(t.Context(), "p", "me", ExternalEnd{Outcome: Completed}), ErrAuthority)
			noErr(t, r.EndExternal(t.Context(), "p", "them", ExternalEnd{Outcome: Completed, Output: []byte(`7`)}))
			if p = wants(t, r, "p", StatusCompleted, 1, 0, 0, 0); string(p.Output) != "7" || p.Fence != c.Fence {
				t.Errorf("it is %+v", p)
			}
			wantNothingLeft(t, r)
		})
	}
}

func TestNothingIsHandedOffBesideARequest(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	c := claim(t, r, join(t, r, "a"), "p")
	_, err := r.Cancel(t.Context(), "p", Request{})
	noErr(t, err)
	wantErr(t, r.HandOff(t.Context(), c, Reference{}), ErrRequested)
	outcome, err := r.EndRequested(t.Context(), c, "", nil)
	noErr(t, err)
	if outcome != Cancelled {
		t.Errorf("the outcome is %s", outcome)
	}
}

// To cancel what is parked is to ask whoever does it; to abandon it is to end
// it.
func TestWhatIsParkedCanBeAskedToEndOrGivenUp(t *testing.T) {
	r := newRegistry(t)
	startExternal(t, r, "p")
	startExternal(t, r, "q")
	ended, err := r.Cancel(t.Context(), "p", Request{By: "me"})
	noErr(t, err)
	if p := wants(t, r, "p", StatusParked, 0, 0, 0, 0); ended || p.CancelRequested == nil || p.CancelRequested.By != "me" {
		t.Errorf("ended %v, it is %+v", ended, p)
	}
	noErr(t, r.EndExternal(t.Context(), "p", "them", ExternalEnd{Outcome: Cancelled}))
	wants(t, r, "p", StatusCancelled, 0, 0, 0, 0)
	ended, err = r.Abandon(t.Context(), "q", Request{By: "me", Reason: "gone"})
	noErr(t, err)
	if e := wantEvidence(t, r, "q", EvidenceRequest); !ended || e.By != "me" || e.Reason != "gone" {
		t.Errorf("ended %v by %+v", ended, e)
	}
	wantNothingLeft(t, r)
}

func TestExternalWorkIsNotDelayed(t *testing.T) {
	r := newRegistry(t)
	s := Spec{ID: "p", Kind: "k", Disposition: External}
	for _, o := range []StartOption{After(time.Second), At(time.Now())} {
		_, err := r.Start(t.Context(), s.With(o))
		wantErr(t, err, ErrInvalid)
	}
	_, err := r.Start(t.Context(), Spec{Kind: "k", Disposition: Rerunnable, Authority: "them"})
	wantErr(t, err, ErrInvalid)
}
