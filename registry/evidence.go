package registry

import "time"

// Evidence is by what right a process was ended that no attempt of its own
// ended. Elapsed time alone is none, but for a declared deadline.
type Evidence struct {
	// What it is: one of the constants below.
	What string `json:"what"`
	// By and Reason are who asked for it and why; of an external process, By
	// is the authority.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	// At is when it was asked for, or when the death was proved.
	At time.Time `json:"at,omitzero"`
	// Node and Session held the process; Proof tells how it is known that
	// they are dead.
	Node    string `json:"node,omitempty"`
	Session string `json:"session,omitempty"`
	Proof   string `json:"proof,omitempty"`
}

// What evidence can be.
const (
	EvidenceDeath      = "proof of death"  // the holder is dead, or its handlers had all ended
	EvidenceRequest    = "abandon request" // somebody took it upon himself
	EvidenceOwnerDrain = "owner drain"     // the holder itself gave it up, its handler had ended
	EvidenceAuthority  = "authority"       // whoever ran it outside says so
)

// Why a process was failed that no handler failed.
const (
	reasonDeadline   = "deadline passed"
	reasonQuarantine = "quarantined: too many nodes died under it"
)
