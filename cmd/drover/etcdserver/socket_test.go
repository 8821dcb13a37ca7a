package etcdserver

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var errWaitedEnough = errors.New("waited enough")

func contextEndingAfter(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(t.Context(), d, errWaitedEnough)
}

func TestStrangeTempDirsFallBackToTmp(t *testing.T) {
	short, err := os.MkdirTemp("/tmp", "short")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	for _, tt := range []struct{ name, tmp, parent string }{
		{"plain", short, short},
		{"trailing slash", short + "/", short},
		{"long", filepath.Join(short, strings.Repeat("long/", 30)), "/tmp"},
		{"percent", filepath.Join(short, "100%"), "/tmp"},
		{"hash", filepath.Join(short, "#1"), "/tmp"},
		{"question mark", filepath.Join(short, "what?"), "/tmp"},
		{"space", filepath.Join(short, "a b"), "/tmp"},
		{"colon", filepath.Join(short, "a:b"), "/tmp"},
		{"relative", "tmp", "/tmp"},
		{"missing", "", "/tmp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tmp := tt.tmp
			if tt.name == "missing" {
				tmp = filepath.Join(short, "missing")
			} else if filepath.IsAbs(tmp) {
				if err := os.MkdirAll(tmp, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			dir := t.TempDir() // is under TMPDIR too
			t.Setenv("TMPDIR", tmp)
			s := serve(t, Options{Dir: dir})
			if got := filepath.Dir(s.socketDir); got != tt.parent {
				t.Errorf("the socket's directory is in %s, want %s", got, tt.parent)
			}
			if _, err := dial(t, s.Endpoints()[0]).Put(t.Context(), "key", ""); err != nil {
				t.Errorf("put through %s: %v", s.Endpoints()[0], err)
			}
		})
	}
}

func TestLongestTempDirStillFits(t *testing.T) {
	parent, err := os.MkdirTemp("/tmp", "long")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(parent)
	tmp := parent + "/" + strings.Repeat("x", maxSocketPath-socketDirLen-len(parent)-1)
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	s := serve(t, Options{Dir: dir})
	if got := filepath.Dir(s.socketDir); got != tmp {
		t.Errorf("the socket's directory is in %s, want %s", got, tmp)
	}
}

func TestOnlySocketDirsAreRemoved(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	elsewhere := filepath.Join(t.TempDir(), "drover-123")
	link := filepath.Join(tmp, "drover-77")
	for _, dir := range []string{
		elsewhere,
		filepath.Join(tmp, "drover-abc"),
		filepath.Join(tmp, "other-123"),
		filepath.Join(tmp, "deep", "drover-123"),
	} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Fatal(err)
	}
	public := filepath.Join(tmp, "drover-5")
	if err := errors.Join(os.Mkdir(public, 0o700), os.Chmod(public, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{
		"", "/", tmp, "drover-1", elsewhere, link, public,
		filepath.Join(tmp, "drover-abc"),
		filepath.Join(tmp, "other-123"),
		filepath.Join(tmp, "deep", "drover-123"),
		tmp + "/deep/../drover-123",
	} {
		if err := removeSocketDir(dir); err != nil {
			t.Errorf("removeSocketDir(%q): %v", dir, err)
		}
		if _, err := os.Lstat(dir); dir != "" && strings.HasPrefix(dir, "/") && !strings.Contains(dir, "..") && err != nil {
			t.Errorf("%s was removed", dir)
		}
	}
}

func TestSocketDirIsOnRecordBeforeItExists(t *testing.T) {
	tmp, dir := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", tmp)
	d, _, err := tryDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	s := &Server{dir: d}
	if err := s.openSocketDir(); err != nil {
		t.Fatal(err)
	}
	defer removeSocketDir(s.socketDir) //nolint:errcheck // a temporary directory
	if h := readHolder(d.lock.Name()); h.SocketDir != s.socketDir || h.State != Starting {
		t.Errorf("on record is %+v, want %s, starting", h, s.socketDir)
	}
	announced := ""
	made, err := makeSocketDir(func(dir string) error {
		announced = dir
		if _, err := os.Lstat(dir); err == nil {
			t.Error("it exists already when it is announced")
		}
		return nil
	})
	if err != nil || made != announced {
		t.Errorf("made %q, %v, announced %q", made, err, announced)
	}
	defer removeSocketDir(made) //nolint:errcheck // a temporary directory
}

func TestSocketDirIsRemovedWithItsSocketsOnly(t *testing.T) {
	t.Setenv("TMPDIR", "/tmp")
	dir, err := makeSocketDir(func(string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket, file := filepath.Join(dir, clientSocket), filepath.Join(dir, httpSocket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := removeSocketDir(dir); err == nil {
		t.Error("a directory with a file in it was removed")
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the file: %v, want it kept", err)
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("the socket is still there")
	}
	os.Remove(file)
	if err := removeSocketDir(dir); err != nil {
		t.Errorf("removeSocketDir: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory is still there")
	}
}
