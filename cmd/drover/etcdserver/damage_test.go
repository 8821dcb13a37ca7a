package etcdserver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"golang.org/x/sys/unix"
)

// filled returns a data directory with a few hundred pages of data.
func filled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := serve(t, Options{Dir: dir})
	for range 20 {
		if _, err := s.Client().Put(t.Context(), "key", strings.Repeat("x", 100_000)); err != nil {
			t.Fatal(err)
		}
	}
	stop(t, s)
	return dir
}

func overwrite(t *testing.T, path string, from, to float64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := int(from*float64(len(b))), int(to*float64(len(b)))
	for i := begin; i < end; i++ {
		b[i] = 0xa5
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func firstWAL(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "etcd", "member", "wal", "*.wal"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no log: %v", err)
	}
	return names[0]
}

// Damage is met in another process: one that etcd would end.
func TestDamagedDataIsAnErrorAndNotACrash(t *testing.T) {
	database := func(dir string) string { return (&dataDir{path: dir}).database() }
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, dir string)
	}{
		{"database is garbage", func(t *testing.T, dir string) { overwrite(t, database(dir), 0, 1) }},
		{"database's pages are garbage", func(t *testing.T, dir string) { overwrite(t, database(dir), 0.01, 1) }},
		{"database is cut short", func(t *testing.T, dir string) {
			if err := os.Truncate(database(dir), 20_000); err != nil {
				t.Fatal(err)
			}
		}},
		{"database is a directory", func(t *testing.T, dir string) {
			if err := errors.Join(os.Remove(database(dir)), os.Mkdir(database(dir), 0o700)); err != nil {
				t.Fatal(err)
			}
		}},
		{"log is garbage", func(t *testing.T, dir string) { overwrite(t, firstWAL(t, dir), 0, 0.9) }},
		{"log has garbage within", func(t *testing.T, dir string) { overwrite(t, firstWAL(t, dir), 0.005, 0.006) }},
		{"log is empty", func(t *testing.T, dir string) {
			if err := os.Truncate(firstWAL(t, dir), 0); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filled(t)
			tt.damage(t, dir)
			h := startHelper(t, "try", dir)
			first, second := h.next(), h.next()
			if !first.Fatal || !strings.Contains(first.Err, dir) {
				t.Errorf("Start: %q, want a FatalError that names the directory", first.Err)
			}
			if !second.Fatal && second.InUse == nil {
				t.Errorf("Start again: %q, want the same or InUseError", second.Err)
			}
			t.Log(first.Err)
			_ = h.wait()
			if h.cmd.ProcessState.ExitCode() != 1 || strings.Contains(h.stderr.String(), "goroutine ") {
				t.Errorf("exit code %d, standard error: %s", h.cmd.ProcessState.ExitCode(), h.stderr.String())
			}
		})
	}
}

func TestTornLogIsRepaired(t *testing.T) {
	dir := filled(t)
	// A power cut leaves zeros, or half a record, at the end of the log.
	name := firstWAL(t, dir)
	if err := os.Truncate(name, 1_950_000); err != nil {
		t.Fatal(err)
	}
	serve(t, Options{Dir: dir})
}

func TestFatalErrorAtRunTimeIsDelivered(t *testing.T) {
	dir := t.TempDir()
	h := startHelper(t, "fatal", dir)
	h.next()
	if died := h.next(); !died.Fatal || !strings.Contains(died.Err, "failed to save the log: short write") {
		t.Errorf("Err: %q, want a FatalError with etcd's words", died.Err)
	}
	if stopped := h.next(); !stopped.Fatal {
		t.Errorf("Stop: %q, want the FatalError", stopped.Err)
	}
	if again := h.next(); again.InUse == nil || again.InUse.PID != h.cmd.Process.Pid {
		t.Errorf("Start in the same process: %q, want InUseError with its own pid", again.Err)
	}
	_ = h.wait()
	if h.cmd.ProcessState.ExitCode() != 1 || h.stderr.Len() != 0 {
		t.Errorf("exit code %d, standard error %q, want 1 and nothing", h.cmd.ProcessState.ExitCode(), h.stderr.String())
	}
	serve(t, Options{Dir: dir})
}

func TestDatabaseHeldByAnotherProgramIsInUse(t *testing.T) {
	dir := filled(t)
	db, err := bbolt.Open((&dataDir{path: dir}).database(), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	wantInUse(t, dir, 0, "")
}

func TestUnreadableDirectoryIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Options{Dir: filepath.Join(dir, "file", "data")})
	if !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("Start below a file: %v, want ENOTDIR", err)
	}
}

func TestMissingLogIsAnError(t *testing.T) {
	dir := filled(t)
	if err := os.RemoveAll((&dataDir{path: dir}).log()); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Options{Dir: dir})
	var fatal *FatalError
	if !errors.As(err, &fatal) || !errors.Is(err, errLogMissing) {
		t.Errorf("Start: %v, want a FatalError of the missing log", err)
	}
}

// As a kill in the middle of the first start leaves it.
func TestUnfinishedFirstStartIsStartedOver(t *testing.T) {
	dir := &dataDir{path: t.TempDir()}
	if err := os.MkdirAll(filepath.Dir(dir.database()), 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(dir.database(), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	w, err := wal.Create(nil, dir.log(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	s := serve(t, Options{Dir: dir.path})
	if _, err := s.Client().Put(t.Context(), "key", ""); err != nil {
		t.Error(err)
	}
}

// A process that is killed at once after the first start has all data in the log
// and none in the database yet.
func TestDataThatIsOnlyInTheLogIsKept(t *testing.T) {
	dir := filled(t)
	if err := os.Remove((&dataDir{path: dir}).database()); err != nil {
		t.Fatal(err)
	}
	s := serve(t, Options{Dir: dir})
	if got, err := s.Client().Get(t.Context(), "key"); err != nil || len(got.Kvs) != 1 {
		t.Errorf("get: %v, %v, want the key", got, err)
	}
}
