package registry

import (
	"errors"
	"strings"
	"testing"
)

// What a newer drover wrote, or a person by hand, is reported with its key and
// left as it is.
func TestRowsThatAreNotOursAreCorrupt(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"a newer schema": func(row string) string {
			return strings.Replace(row, `"schema":1`, `"schema":2`, 1)
		},
		"a newer schema with fields": func(row string) string {
			return strings.Replace(row, `"schema":1`, `"schema":2,"colour":"red"`, 1)
		},
		"an unknown field":           func(row string) string { return strings.Replace(row, `"schema":1`, `"schema":1,"colour":"red"`, 1) },
		"an unknown field of a spec": func(row string) string { return strings.Replace(row, `"kind":`, `"colour":"red","kind":`, 1) },
		"another id":                 func(row string) string { return strings.Replace(row, `"id":"p"`, `"id":"q"`, 1) },
		"another disposition":        func(row string) string { return strings.Replace(row, `"rerunnable"`, `"maybe"`, 1) },
		"no disposition":             func(row string) string { return strings.Replace(row, `"disposition":"rerunnable",`, "", 1) },
		"no series":                  func(row string) string { return strings.Replace(row, `"series":1,`, "", 1) },
		"a row that is cut":          func(row string) string { return row[:len(row)/2] },
		"a row and more":             func(row string) string { return row + "}" },
		"two rows":                   func(row string) string { return row + row },
		"nothing":                    func(string) string { return "" },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			start(t, r, "p")
			key := r.keys.process("p")
			resp, err := r.client.Get(t.Context(), key)
			noErr(t, err)
			was := string(resp.Kvs[0].Value)
			changed := change(was)
			if changed == was {
				t.Fatal("nothing is changed")
			}
			write(t, r, key, changed)
			e, s := entryOf(t, r, "p"), join(t, r, "n")
			_, getErr := r.Get(t.Context(), "p")
			_, claimErr := r.Claim(t.Context(), s, e)
			_, cancelErr := r.Cancel(t.Context(), "p", Request{})
			for what, err := range map[string]error{"get": getErr, "claim": claimErr, "cancel": cancelErr} {
				var corrupt *CorruptError
				if !errors.As(err, &corrupt) || corrupt.Key != key {
					t.Errorf("%s: %v", what, err)
				}
				if newer := strings.HasPrefix(name, "a newer"); newer != strings.Contains(err.Error(), "a newer one wrote it") {
					t.Errorf("%s says %v", what, err)
				}
			}
			resp, err = r.client.Get(t.Context(), key)
			noErr(t, err)
			if string(resp.Kvs[0].Value) != changed {
				t.Errorf("it was changed to %s", resp.Kvs[0].Value)
			}
		})
	}
}
