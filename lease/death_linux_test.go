package lease

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childEnv makes the test binary a process for others to judge.
const childEnv = "DROVER_LEASE_TEST_CHILD"

func init() {
	if os.Getenv(childEnv) == "headless" {
		runtime.LockOSThread() // so that main is on the process's first thread
	}
}

// child says that it is there and lives until its input ends. A headless one
// gives up its first thread before.
func child() {
	go func() {
		_, _ = os.Stdout.WriteString("up\n")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if os.Getenv(childEnv) == "headless" {
		_, _, _ = syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0) // of this thread alone
	}
	select {}
}

// spawn starts a child and returns once it is up.
func spawn(t *testing.T, how string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+how)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func of(t *testing.T, pid int) Identity {
	t.Helper()
	i, err := Of(pid)
	if err != nil {
		t.Fatal(err)
	}
	if i.Host == "" || i.BootID == "" || i.PIDNamespace == "" || i.StartTime == 0 {
		t.Fatalf("identity %+v has gaps", i)
	}
	return i
}

// eventually waits for what the kernel does in its own time.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func TestGoneFollowsAChildFromLifeToDeath(t *testing.T) {
	cmd := spawn(t, "plain")
	i := of(t, cmd.Process.Pid)
	if evidence, gone := i.Gone(); gone {
		t.Fatalf("gone while it lives: %s", evidence)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the killed child is gone, as a zombie", func() bool {
		evidence, gone := i.Gone()
		if gone && !strings.Contains(evidence, "has exited and waits for its parent") {
			t.Fatalf("the evidence is %q", evidence)
		}
		return gone
	})

	_ = cmd.Wait()
	if evidence, gone := i.Gone(); !gone || !strings.Contains(evidence, "there is no process") {
		t.Errorf("after it was waited for: %v, %q", gone, evidence)
	}
}

func TestAnotherStartTimeIsAnotherProcess(t *testing.T) {
	i := of(t, spawn(t, "plain").Process.Pid)
	i.StartTime--
	if evidence, gone := i.Gone(); !gone || !strings.Contains(evidence, "is another one") {
		t.Errorf("got %v, %q", gone, evidence)
	}
	i.StartTime = 0
	if evidence, gone := i.Gone(); gone {
		t.Errorf("an unknown start time proved: %s", evidence)
	}
}

func TestAProcessWithoutItsFirstThreadIsNotGone(t *testing.T) {
	cmd := spawn(t, "headless")
	pid := cmd.Process.Pid
	eventually(t, "the first thread has exited", func() bool {
		p, err := readStat(pid)
		return err == nil && p.state == 'Z'
	})
	i := of(t, pid)
	if evidence, gone := i.Gone(); gone {
		t.Fatalf("gone while other threads live: %s", evidence)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is gone with its last thread", func() bool {
		_, gone := i.Gone()
		return gone
	})
}

func TestWhatRanElsewhereIsNeverProvedGone(t *testing.T) {
	cmd := spawn(t, "plain")
	dead := of(t, cmd.Process.Pid)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if _, gone := dead.Gone(); !gone {
		t.Fatal("the child must be gone, or this test shows nothing")
	}
	for name, change := range map[string]func(*Identity){
		"another host":          func(i *Identity) { i.Host = "elsewhere" },
		"no host":               func(i *Identity) { i.Host = "" },
		"another boot":          func(i *Identity) { i.BootID = "00000000-0000-0000-0000-000000000000" },
		"no boot":               func(i *Identity) { i.BootID = "" },
		"another PID namespace": func(i *Identity) { i.PIDNamespace = "pid:[1]" },
		"no PID namespace":      func(i *Identity) { i.PIDNamespace = "" },
		"process 0":             func(i *Identity) { i.PID = 0 },
		"a process group":       func(i *Identity) { i.PID = -i.PID },
		"nothing at all":        func(i *Identity) { *i = Identity{} },
	} {
		i := dead
		change(&i)
		if evidence, gone := i.Gone(); gone {
			t.Errorf("%s: %s", name, evidence)
		}
	}
}

func TestParseStatReadsPastAnyCommand(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 4 18 130434 20 21\n"
	for _, command := range []string{"(sleep)", "(a b)", "(a) S 1 (b)", "())", "(\n)"} {
		got, err := parseStat([]byte("42 " + command + rest))
		if err != nil {
			t.Errorf("%s: %v", command, err)
		}
		if want := (procStat{state: 'S', threads: 4, start: 130434}); got != want {
			t.Errorf("%s: got %+v, want %+v", command, got, want)
		}
	}
	for _, bad := range []string{"", "42 (sleep)", "42 (sleep) S 1 2", "42 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 x 18 y"} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
}
