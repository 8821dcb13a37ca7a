package witness

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWitnessHearsWhatTheNodeSaidBeforeItEnded(t *testing.T) {
	node := exec.Command("sleep", "1000")
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Process.Kill(); _ = node.Wait() })
	pidfd := OpenPidfd(node.Process.Pid)
	if pidfd < 0 {
		t.Skip("this kernel has no pidfds")
	}
	file := os.NewFile(uintptr(pidfd), "pidfd")
	defer file.Close()
	d := startDialog(t, file)
	leader := family(t)

	// It finds both at once: the group, and the end of the node.
	if err := d.cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	d.say(leader.line("1"))
	if err := node.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = node.Wait() // killed, as was wanted
	if err := d.cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("the witness ended with %v", err)
	}
	if n := living(t, leader.PID); n > 0 {
		t.Errorf("the witness has ended and %d processes are left", n)
	}
}

func TestSocketsEndIsNotTheNodesWhereThereIsAPidfd(t *testing.T) {
	node := exec.Command("sleep", "1000")
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Process.Kill(); _ = node.Wait() })
	pidfd := OpenPidfd(node.Process.Pid)
	if pidfd < 0 {
		t.Skip("this kernel has no pidfds")
	}
	file := os.NewFile(uintptr(pidfd), "pidfd")
	defer file.Close()
	d := startDialog(t, file)
	leader := family(t)
	d.say(leader.line("1"))
	d.hears("ack 1")
	if err := d.conn.Close(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.cmd.Wait() }()
	if err := node.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the witness ended with %v", err)
	}
	if n := living(t, leader.PID); n > 0 {
		t.Errorf("the witness has ended and %d processes are left", n)
	}
}
