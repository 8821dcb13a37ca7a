package gate

import (
	"strconv"
	"syscall"
)

// Order tells a gate which command to become. No string may hold a NUL, which the system could not pass on either.
type Order struct {
	Path string   // of the file to execute; a relative one counts from Dir
	Dir  string   // "": where the node is
	Args []string // with the name of the command as the first
	Env  []string
}

// Encode returns the order as it travels: strings that a NUL ends, so that any byte a file name or an environment may
// hold arrives as it was. It begins with the two counts, by which a part of an order is told from the whole.
func (o Order) Encode() []byte {
	var all []byte
	add := func(strings ...string) {
		for _, s := range strings {
			all = append(append(all, s...), 0)
		}
	}
	add(strconv.Itoa(len(o.Args)), strconv.Itoa(len(o.Env)), o.Path, o.Dir)
	add(o.Args...)
	add(o.Env...)
	return all
}

// DecodeOrder reports false unless all of an order is there.
func DecodeOrder(received []byte) (o Order, whole bool) {
	var fields []string
	start := 0
	for i, b := range received {
		if b == 0 {
			fields = append(fields, string(received[start:i]))
			start = i + 1
		}
	}
	const head = 4
	if len(fields) < head || start != len(received) {
		return Order{}, false
	}
	args, errArgs := strconv.Atoi(fields[0])
	env, errEnv := strconv.Atoi(fields[1])
	if errArgs != nil || errEnv != nil || args < 0 || len(fields) != head+args+env {
		return Order{}, false
	}
	return Order{Path: fields[2], Dir: fields[3], Args: fields[head : head+args], Env: fields[head+args:]}, true
}

// A Step is one that a gate can fail at. It is the first byte of its last words; an errno follows.
type Step byte

// The steps.
const (
	Chdir Step = 'c'
	Exec  Step = 'e'
)

// ready is what a gate says right before it executes the command.
const ready = 'r'

// DecodeAnswer reads all that a gate said until its socket ended. The socket is closed on exec, so its end says that the
// command runs, provided that the gate had come that far: entered is false when it died before. failed is 0 unless a
// step failed.
func DecodeAnswer(answer []byte) (entered bool, failed Step, errno syscall.Errno) {
	if len(answer) > 0 && answer[0] == ready {
		entered, answer = true, answer[1:]
	}
	if len(answer) == 0 {
		return entered, 0, 0
	}
	number, _ := strconv.Atoi(string(answer[1:])) // our own, see failed
	return entered, Step(answer[0]), syscall.Errno(number)
}
