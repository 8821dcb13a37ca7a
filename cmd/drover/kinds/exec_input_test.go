package kinds

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestParseExecInput(t *testing.T) {
	in, err := ParseExecInput(json.RawMessage(`{"argv":["a","b"],"env":{"K":"V"},"dir":"/d","stdin":"s"}`))
	want := ExecInput{Argv: []string{"a", "b"}, Env: map[string]string{"K": "V"}, Dir: "/d", Stdin: "s"}
	if err != nil || !reflect.DeepEqual(in, want) {
		t.Errorf("%+v, %v; want %+v", in, err, want)
	}
	for input, says := range map[string]string{
		``:                                    "there is none",
		`null`:                                "argv: it must name a command",
		`{}`:                                  "argv: it must name a command",
		`{"argv":[]}`:                         "argv: it must name a command",
		`{"argv":[""]}`:                       "argv: it must name a command",
		`{"argv":["a","b\u0000"]}`:            "argv[1]: it holds a NUL byte",
		`{"argv":["a"],"env":{"":"x"}}`:       `env: "" is no name`,
		`{"argv":["a"],"env":{"A=B":"x"}}`:    `env: "A=B" is no name`,
		`{"argv":["a"],"env":{"A":"\u0000"}}`: "env: A holds a NUL byte",
		`{"argv":["a"],"dir":"\u0000"}`:       "dir: it holds a NUL byte",
		`{"argv":["a"],"cwd":"/"}`:            `unknown field "cwd"`,
		`{"argv":"a"}`:                        "cannot unmarshal",
		`{"argv":["a"]} {}`:                   "more than one JSON value",
	} {
		if _, err := ParseExecInput(json.RawMessage(input)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v, want one that says %q", input, err, says)
		}
	}
}

func TestServeEnvHoldsNoSecrets(t *testing.T) {
	got := ServeEnv([]string{"PATH=/bin", "HOME=/root", "DROVER_PASSWORD=x", "LANG=C", "TZ=UTC", "TMPDIR=/t", "PATHS=no", "AWS_KEY=y"})
	if want := []string{"PATH=/bin", "HOME=/root", "LANG=C", "TZ=UTC", "TMPDIR=/t"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLaterVariablesWin(t *testing.T) {
	got := mergeEnv([]string{"A=1", "B=1", "A=2", "odd", "C=x=y"}, map[string]string{"B": "2", "D": ""}, nil, map[string]string{"D": "3"})
	if want := []string{"A=2", "B=2", "C=x=y", "D=3"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWorkingDir(t *testing.T) {
	for _, tt := range []struct {
		base, dir, want string
		pwd             bool
	}{
		{"", "", "", false},
		{"/base", "", "/base", true},
		{"/base", "sub/x", "/base/sub/x", true},
		{"/base", "/abs", "/abs", true},
		{"", "sub", "sub", false},
	} {
		got, env := workingDir(tt.base, tt.dir)
		if got != tt.want || (env["PWD"] == tt.want) != (tt.pwd || tt.want == "") {
			t.Errorf("%q in %q is %q with %v, want %q", tt.dir, tt.base, got, env, tt.want)
		}
	}
}
