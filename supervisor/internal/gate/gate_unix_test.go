//go:build linux || darwin

package gate

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// send starts a gate of this process, or of the one that it is told, and returns what it answers to these bytes.
func send(t *testing.T, node int, bytes []byte) (answer []byte) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(fds[0])
	syscall.CloseOnExec(fds[1])
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Args, cmd.Env, cmd.ExtraFiles = Args(node), Environ(), []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	if _, err := ours.Write(bytes); err != nil && !errors.Is(err, syscall.EPIPE) {
		t.Error(err)
	}
	if err := syscall.Shutdown(fds[0], syscall.SHUT_WR); err != nil && !errors.Is(err, syscall.ENOTCONN) {
		t.Error(err)
	}
	// A gate that left without reading resets the connection.
	if answer, err = io.ReadAll(ours); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	_ = cmd.Wait() // its exit code says nothing
	return answer
}

func TestGateOpensForAWholeOrderOfItsParentOnly(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "ran")
	order := Order{Path: "/bin/sh", Args: []string{"sh", "-c", "echo >" + marker}}.Encode()
	shut := func(answer []byte) {
		t.Helper()
		if len(answer) > 0 {
			t.Errorf("the gate answers %q, want nothing", answer)
		}
		if _, err := os.Stat(marker); err == nil {
			t.Fatal("the command ran")
		}
	}
	shut(send(t, os.Getpid(), nil))
	shut(send(t, os.Getpid(), order[:len(order)-1]))
	shut(send(t, os.Getppid(), order))

	if answer := send(t, os.Getpid(), order); !bytes.Equal(answer, []byte{ready}) {
		t.Errorf("the gate answers %q, want %q", answer, ready)
	}
	if _, err := os.Stat(marker); err != nil {
		t.Errorf("the command did not run: %v", err)
	}
}
