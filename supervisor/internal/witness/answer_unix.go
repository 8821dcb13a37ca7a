//go:build linux || darwin

package witness

import "encoding/binary"

// What of HTTP/2 and gRPC a witness has to know to read etcd's answer to its one request.
const (
	frameHeader = 9 // length (3), type (1), flags (1), stream (4)
	frameData   = 0
	frameHead   = 1
	frameReset  = 3
	frameAway   = 7
	last        = 0x1 // of its stream
	padded      = 0x8
	dataHeader  = 5 // compressed (1), length (4)
)

// findAnswer looks for the message among the frames that were received. It is whole as soon as that is all that will
// come: empty if the request failed.
func findAnswer(received []byte) (answer []byte, whole bool) {
	var message []byte
	for len(received) >= frameHeader {
		length := int(received[0])<<16 | int(received[1])<<8 | int(received[2])
		kind, flags := received[3], received[4]
		if len(received) < frameHeader+length {
			return nil, false
		}
		switch payload := received[frameHeader : frameHeader+length]; {
		case kind == frameReset, kind == frameAway, kind == frameHead && flags&last != 0, kind == frameData && flags&padded != 0:
			return nil, true
		case kind == frameData:
			message = append(message, payload...)
			if len(message) < dataHeader {
				break
			}
			if message[0] != 0 {
				return nil, true
			}
			if n := int(binary.BigEndian.Uint32(message[1:dataHeader])); len(message) >= dataHeader+n {
				return message[dataHeader:], true
			}
		}
		received = received[frameHeader+length:]
	}
	return nil, false
}

// agrees says whether the answer to a transaction is that its conditions held. etcd sends one only if it has done what
// it was asked for; what it refuses has no message.
func agrees(answer []byte) bool {
	const succeeded, varint, lengthDelimited = 2, 0, 2
	for len(answer) > 0 {
		tag, n := binary.Uvarint(answer)
		if n <= 0 {
			return false
		}
		value, m := binary.Uvarint(answer[n:])
		if m <= 0 {
			return false
		}
		answer = answer[n+m:]
		switch tag & 7 {
		case varint:
			if tag>>3 == succeeded {
				return value == 1
			}
		case lengthDelimited:
			if value > uint64(len(answer)) {
				return false
			}
			answer = answer[value:]
		default:
			return false
		}
	}
	return false
}
