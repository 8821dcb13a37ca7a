package gate

import (
	"reflect"
	"syscall"
	"testing"
)

func TestOrderArrivesAsItWas(t *testing.T) {
	for name, order := range map[string]Order{
		"a command":        {Path: "/bin/sh", Dir: "/tmp", Args: []string{"sh", "-c", "echo"}, Env: []string{"A=1", "B="}},
		"odd bytes":        {Path: "/b\xff\n", Args: []string{"", "3", "\n"}, Env: []string{"=\xfe"}},
		"no environment":   {Path: "true", Args: []string{"true"}, Env: []string{}},
		"nothing whatever": {Args: []string{}, Env: []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			travelling := order.Encode()
			got, whole := DecodeOrder(travelling)
			if !whole || !reflect.DeepEqual(got, order) {
				t.Errorf("arrived: %q, %v; sent: %q", got, whole, order)
			}
			for n := range travelling {
				if _, whole := DecodeOrder(travelling[:n]); whole {
					t.Errorf("the first %d of %d bytes were taken for an order", n, len(travelling))
				}
			}
		})
	}
}

func TestOrderOfAnotherFormIsRefused(t *testing.T) {
	for _, received := range []string{
		"",
		"1\x000\x00/bin/sh\x00\x00",               // an argument less than promised
		"1\x000\x00/bin/sh\x00\x00sh\x00x\x00",    // one more
		"-1\x001\x00/bin/sh\x00\x00",              // counts that only add up
		"one\x000\x00/bin/sh\x00\x00sh\x00",       // no number
		"1\x000\x00/bin/sh\x00\x00sh\x00trailing", // no end
	} {
		if order, whole := DecodeOrder([]byte(received)); whole {
			t.Errorf("%q was taken for %q", received, order)
		}
	}
}

func TestDecodeAnswer(t *testing.T) {
	tests := map[string]struct {
		answer  string
		entered bool
		failed  Step
		errno   syscall.Errno
	}{
		"it died":               {"", false, 0, 0},
		"it became the command": {"r", true, 0, 0},
		"no such directory":     {"c2", false, Chdir, 2},
		"not executable":        {"re13", true, Exec, 13}, // the number, whatever this system calls it
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			entered, failed, errno := DecodeAnswer([]byte(tt.answer))
			if entered != tt.entered || failed != tt.failed || errno != tt.errno {
				t.Errorf("%q means %v, %q, %v; want %v, %q, %v",
					tt.answer, entered, failed, errno, tt.entered, tt.failed, tt.errno)
			}
		})
	}
}
