package kinds

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// ServeEnv picks what commands get of a daemon's environment: enough to find programs and to behave as the machine
// does, and none of its secrets.
func ServeEnv(environ []string) []string {
	var picked []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if slices.Contains([]string{"PATH", "HOME", "LANG", "TZ", "TMPDIR"}, name) {
			picked = append(picked, kv)
		}
	}
	return picked
}

// mergeEnv returns base with the variables of each layer, of which the last wins, sorted by name.
func mergeEnv(base []string, layers ...map[string]string) []string {
	merged := map[string]string{}
	for _, kv := range base {
		if name, value, isVariable := strings.Cut(kv, "="); isVariable {
			merged[name] = value
		}
	}
	for _, layer := range layers {
		maps.Copy(merged, layer)
	}
	env := make([]string, 0, len(merged))
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		env = append(env, name+"="+merged[name])
	}
	return env
}

// workingDir is where a command runs: dir, which counts from base, and base if it is empty. The second result is what
// that makes of PWD, which shells and getcwd trust.
func workingDir(base, dir string) (string, map[string]string) {
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(base, dir) // "" if both are
	}
	if !filepath.IsAbs(dir) {
		return dir, nil
	}
	return dir, map[string]string{"PWD": dir}
}
