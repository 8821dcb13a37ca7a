package witness

import (
	"bytes"
	"strings"
)

// The conversation on the witness's socket: lines of words. Groups have a number that the node never uses again, since
// it may forget a group, and see its pid reused, before an answer about it has come.
const (
	// From the node.
	WordDeadline = "deadline" // SESSION NANOSECONDS: replaces the last one; on the clock that Now reads
	WordGroup    = "group"    // NUMBER PGID START SESSION: answered by ack or refused; NoSession for none
	WordForget   = "forget"   // NUMBER: nothing of it is left
	WordWill     = "will"     // SESSION WILL [ADDRESSES TIME LETTER]: replaces the last one; package undertaker writes them
	WordRevoke   = "revoke"   // SESSION: there is no will any more
	WordLeave    = "leave"    // the node leaves: kill what is left, then exit

	// From the witness.
	WordHello   = "hello"   // VERSION: the first line
	WordAck     = "ack"     // NUMBER: the group is watched
	WordRefused = "refused" // NUMBER REASON: and it is not watched
	WordKilled  = "killed"  // NUMBER: its session's deadline had passed; nothing of it is left
	WordFault   = "fault"   // TEXT: the last line of a witness that had to give up
)

// Version of the conversation. Node and witness are the same file on Linux; elsewhere an upgrade may come between.
const Version = "3"

// NoSession stands for the session of a group that only the node's end concerns.
const NoSession = "-"

// TimeLayout is the form of the time in a letter. Its length is always the same.
const TimeLayout = "2006-01-02T15:04:05.000000000Z"

// What an address in a letter begins with.
const (
	AddressUnix = "unix:" // a path follows
	AddressIP   = "ip:"   // 32 hexadecimal digits follow, a colon, and the port
)

// Reasons to refuse a group.
const (
	RefusedDeadline = "deadline" // its session's deadline has passed
	RefusedSession  = "session"  // no deadline was ever told for its session
	RefusedGone     = "gone"     // its leader is not there, or is another process
	RefusedLeaving  = "leaving"  // the witness is about to exit
)

// Line puts words into the form in which they travel. No word is empty or holds a space; the last one may.
func Line(words ...string) []byte {
	return append([]byte(strings.Join(words, " ")), '\n')
}

// cutLine takes the first whole line off what was received.
func cutLine(received []byte) (words []string, rest []byte, whole bool) {
	line, rest, whole := bytes.Cut(received, []byte{'\n'})
	if !whole {
		return nil, received, false
	}
	return strings.Fields(string(line)), rest, true
}
