//go:build linux || darwin

package witness

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// dialog is a witness without a pidfd, as on systems that know none, and the test as its node.
type dialog struct {
	t     *testing.T
	cmd   *exec.Cmd
	conn  *os.File
	lines *bufio.Scanner
}

// startDialog starts the witness with these descriptors behind its socket: a pidfd of the node, or none.
func startDialog(t *testing.T, pidfd ...*os.File) *dialog {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := &dialog{t: t, cmd: exec.Command(program), conn: ours, lines: bufio.NewScanner(ours)}
	d.cmd.Args = Args(len(pidfd) > 0)
	d.cmd.Env = Environ()
	d.cmd.ExtraFiles = append([]*os.File{theirs}, pidfd...)
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	t.Cleanup(func() { _ = ours.Close(); _ = d.cmd.Process.Kill(); _ = d.cmd.Wait() })
	d.hears("hello 3")
	return d
}

func (d *dialog) say(line string) {
	d.t.Helper()
	if _, err := d.conn.WriteString(line + "\n"); err != nil {
		d.t.Fatal(err)
	}
}

func (d *dialog) hears(want string) {
	d.t.Helper()
	if !d.lines.Scan() || d.lines.Text() != want {
		d.t.Fatalf("the witness says %q, want %q", d.lines.Text(), want)
	}
}

// family starts a shell with two children in a group of their own.
func family(t *testing.T) Process {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "sleep 1000 & sleep 1000 & wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	leader, err := Look(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return living(t, leader.PID) == 3 })
	return leader
}

func living(t *testing.T, pgid int) (n int) {
	t.Helper()
	members, err := Members(pgid)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range members {
		if !p.Dead {
			n++
		}
	}
	return n
}

func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ticks := time.NewTicker(2 * time.Millisecond)
	defer ticks.Stop()
	for !holds() {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			t.Fatal("in vain")
		}
	}
}

func (p Process) line(number string) string {
	return "group " + number + " " + strconv.Itoa(p.PID) + " " + strconv.FormatUint(p.Start, 10) + " -"
}

func TestWitnessWithoutPidfdTakesTheSocketsEndForTheNodes(t *testing.T) {
	d := startDialog(t)
	leader := family(t)
	d.say(leader.line("1"))
	d.hears("ack 1")
	// What is said last, together with the end, counts too.
	other := family(t)
	d.say(other.line("2"))
	if err := d.conn.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("the witness ended with %v", err)
	}
	if n := living(t, leader.PID) + living(t, other.PID); n > 0 {
		t.Errorf("the witness has ended and %d processes are left", n)
	}
}

func TestWitnessRefusesALeaderThatIsAnother(t *testing.T) {
	d := startDialog(t)
	leader := family(t)
	d.say("group 1 " + strconv.Itoa(leader.PID) + " 1 -") // started right after boot, it was not
	d.hears("refused 1 gone")
	d.say("group 2 1073741824 1 -")
	d.hears("refused 2 gone")
	d.say("leave")
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("the witness ended with %v", err)
	}
	if living(t, leader.PID) != 3 {
		t.Error("the witness killed a group that it had refused")
	}
}

func TestWitnessLeavesForgottenGroupsAlone(t *testing.T) {
	d := startDialog(t)
	leader := family(t)
	d.say(leader.line("1"))
	d.hears("ack 1")
	d.say("forget 1")
	d.say("leave")
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("the witness ended with %v", err)
	}
	if living(t, leader.PID) != 3 {
		t.Error("the witness killed a group that it was to forget")
	}
}

func TestWitnessConfessesWhatItDoesNotUnderstand(t *testing.T) {
	d := startDialog(t)
	d.say("mumble")
	d.hears("fault drover: the witness was told what it does not understand")
	if err := d.cmd.Wait(); d.cmd.ProcessState.ExitCode() != 2 {
		t.Errorf("the witness ended with %v, want exit status 2", err)
	}
}

// On systems without signals through a pidfd, the pgid has to do.
func TestGroupIsKilledByItsNumber(t *testing.T) {
	leader := family(t)
	g := &group{pgid: leader.PID, start: leader.Start, pidfd: -1}
	if sent, gone := g.strike(); sent || gone {
		t.Fatalf("strike without a pidfd: %v, %v", sent, gone)
	}
	eventually(t, func() bool {
		members, err := Members(g.pgid)
		return err == nil && g.gone(members, false)
	})
	if n := living(t, g.pgid); n > 0 {
		t.Errorf("called gone, and %d processes are left", n)
	}
}

func TestGroupWhoseNumberIsAnothersIsLeftAlone(t *testing.T) {
	leader := family(t)
	g := &group{pgid: leader.PID, start: leader.Start - 1, pidfd: -1}
	members, err := Members(g.pgid)
	if err != nil {
		t.Fatal(err)
	}
	if !g.gone(members, false) {
		t.Error("a group whose leader's pid belongs to another process is not called gone")
	}
	if living(t, g.pgid) != 3 {
		t.Error("another group was killed")
	}
}

func TestGroupIsNotGoneOnFirstSightWithoutABlow(t *testing.T) {
	g := &group{pgid: 1 << 30, pidfd: -1}
	if g.gone(nil, false) {
		t.Error("gone after one census, which may have missed a child that was being born")
	}
	if !g.gone(nil, false) {
		t.Error("not gone after two")
	}
}
