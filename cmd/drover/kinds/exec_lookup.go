package kinds

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// defaultPath is searched if the command's environment has no PATH, as execvp does.
const defaultPath = "/usr/bin:/bin"

// lookup finds a command as a shell would: a name with a slash is a path, any other is searched for in the PATH of the
// command's own environment. Relative paths count from the command's directory. The error is fs.ErrNotExist, or
// fs.ErrPermission if all that was found can't be executed.
func lookup(name string, env []string, dir string) (path string, err error) {
	if strings.Contains(name, "/") {
		return name, nil // the attempt to execute it says more than any look
	}
	search := defaultPath
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = value
		}
	}
	err = fs.ErrNotExist
	for _, folder := range strings.Split(search, ":") {
		if folder == "" {
			folder = "."
		}
		candidate := filepath.Join(folder, name)
		found := executable(from(dir, candidate))
		if found == nil {
			return candidate, nil
		}
		if errors.Is(found, fs.ErrPermission) {
			err = fs.ErrPermission
		}
	}
	return "", err
}

// from is what a command in dir calls path.
func from(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fs.ErrNotExist // a shell, too, goes on looking
	}
	return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
}
