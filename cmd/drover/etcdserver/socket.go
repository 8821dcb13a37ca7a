package etcdserver

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
)

// The sockets in a socket directory, named short as their paths are limited.
const (
	clientSocket = "s"
	httpSocket   = "h" // for nobody, see config
	peerSocket   = "p" // likewise
)

const (
	// maxSocketPath is what the kernels take, the ending zero aside: 108 on
	// Linux, 104 on the BSDs.
	maxSocketPath = 103

	socketDirPrefix = "drover-" // and up to ten digits
	socketDirLen    = len("/drover-4294967295/s")
)

var (
	// plainPath: everything else might mean something in a URL (the client breaks
	// on %, # and ?) or in a log.
	plainPath     = regexp.MustCompile(`^/[A-Za-z0-9._/-]*$`)
	socketDirName = regexp.MustCompile(`^drover-[0-9]{1,10}$`)
)

// makeSocketDir makes a private directory for sockets, under TMPDIR if its path
// is short and plain enough, else under /tmp. Its name is announced beforehand.
func makeSocketDir(announce func(dir string) error) (string, error) {
	var errs []error
	for _, parent := range socketParents() {
		if !plainPath.MatchString(parent) || len(parent)+socketDirLen > maxSocketPath {
			continue
		}
		// Random, as others may write to the parent too: who guessed the name could
		// only keep us from having it.
		dir := filepath.Join(parent, fmt.Sprint(socketDirPrefix, rand.Uint32()))
		if err := announce(dir); err != nil {
			return "", err
		}
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("make a directory for the socket: %w", errors.Join(errs...))
}

func socketParents() []string { return []string{filepath.Clean(os.TempDir()), "/tmp"} }

// removeSocketDir removes a socket directory of this process, or of a killed
// one by whose record it goes. As a record is only a file, nothing is removed
// that makeSocketDir could not have made, and nothing in it but sockets of the
// names above.
func removeSocketDir(dir string) error {
	if !isSocketDir(dir) {
		return nil
	}
	for _, name := range []string{clientSocket, httpSocket, peerSocket} {
		if err := removeSocket(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("remove the socket: %w", err)
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the socket's directory: %w", err)
	}
	return nil
}

func isSocketDir(dir string) bool {
	parent, name := filepath.Split(dir)
	parents := socketParents()
	if parent = filepath.Clean(parent); parent != parents[0] && parent != parents[1] {
		return false
	}
	if !socketDirName.MatchString(name) {
		return false
	}
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
		return false
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(sys.Uid) == os.Geteuid()
}

func removeSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
