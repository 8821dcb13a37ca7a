package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is refused is refused before anything is done: nobody answers at these
// endpoints, which would be another exit code, and the data directory is not
// made.
func refused(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	var stdout, stderr bytes.Buffer
	all := []string{args[0], "--data-dir", data}
	if !strings.Contains(strings.Join(args, " "), "--endpoints") {
		all = append(all, "--endpoints", "127.0.0.1:1", "--request-timeout", "50ms")
	}
	code = run(t.Context(), append(all, args[1:]...), strings.NewReader(""), &stdout, &stderr)
	if _, err := os.Stat(data); err == nil {
		t.Errorf("%q made the data directory", args)
	}
	return code, stdout.String(), stderr.String()
}

func TestWrongUsageIsRefusedInOneSentence(t *testing.T) {
	t.Setenv("DROVER_ENDPOINTS", "")
	t.Setenv("DROVER_NAMESPACE", "")
	const (
		name     = "it must be 1 to 64 of A-Z a-z 0-9 . _ -"
		id       = "it must be 1 to 255 bytes of text, not blank, and without control characters"
		address  = "it must be HOST:PORT, with a port from 0 to 65535"
		endpoint = "each must be HOST:PORT, http://HOST:PORT or https://HOST:PORT"
		queues   = "each must be a NAME of 1 to 64 of A-Z a-z 0-9 . _ -, or NAME=N with an N from 1 to 100000"
		ttl      = "it must be whole seconds, such as 30s, from 1s to 24h"
		span     = "it must be a time such as 30s or 1h30m, from 0s to 876000h"
		positive = "it must be a time such as 30s or 1h30m, more than 0 and at most 876000h"
		label    = "it must be K=V, with a K of 1 to 64 of A-Z a-z 0-9 . _ - and a V of up to 255 bytes of text"
		boolean  = "it must be true or false"
		count    = "it must be a whole number, 1 or more"
		statuses = "each must be scheduled, pending, running, orphaned, parked, completed, failed, cancelled or abandoned"
	)
	for _, tt := range []struct {
		args string // parted by spaces; _ is a space, and '' nothing
		says string
	}{
		{"serve --http=127.0.0.1:abc", "--http 127.0.0.1:abc: " + address},
		{"serve --http=127.0.0.1:99999", "--http 127.0.0.1:99999: " + address},
		{"serve --http=127.0.0.1", "--http 127.0.0.1: " + address},
		{"serve --http=a_b:80", `--http "a b:80": ` + address},
		{"serve --http=192.0.2.1:0", "--http 192.0.2.1:0: its host must be this machine, or an address of it"},
		{"serve --etcd-listen=''", `--etcd-listen "": ` + address},
		{"serve --etcd-listen=:abc", "--etcd-listen :abc: " + address},
		{"serve --etcd-listen=:0", "--etcd-listen does not go with --endpoints"},
		{"serve --witness=no", "--witness no: " + boolean},
		{"serve --witness=''", `--witness "": ` + boolean},
		{"serve --witness no", "serve takes no arguments, and no was given"},
		{"serve --witness=false --allow=exec", "--witness=false does not go with --allow exec: nothing would end the commands of a node that is gone"},
		{"serve --queues=,", "--queues ,: " + queues},
		{"serve --queues=''", `--queues "": ` + queues},
		{"serve --queues=a,", "--queues a,: " + queues},
		{"serve --queues=a_b", `--queues "a b": ` + queues},
		{"serve --queues==3", "--queues =3: " + queues},
		{"serve --queues=a=0", "--queues a=0: " + queues},
		{"serve --queues=a=x", "--queues a=x: " + queues},
		{"serve --queues=a=100001", "--queues a=100001: " + queues},
		{"serve --queues=a --queues=a=2", "--queues a,a=2: a is there twice"},
		{"serve --ttl=0s", "--ttl 0s: " + ttl},
		{"serve --ttl=-1s", "--ttl -1s: " + ttl},
		{"serve --ttl=1500ms", "--ttl 1500ms: " + ttl},
		{"serve --ttl=10", "--ttl 10: " + ttl},
		{"serve --ttl=25h", "--ttl 25h: " + ttl},
		{"serve --ttl=''", `--ttl "": ` + ttl},
		{"serve --ttl", "--ttl needs a value"},
		{"serve --poll=0", "--poll 0: it must be a time such as 30s or 1h30m, from 1ms to 876000h"},
		{"serve --poll=11s", "--poll 11s: it must not be more than --ttl, which is 10s"},
		{"serve --shutdown-timeout=-1s", "--shutdown-timeout -1s: " + span},
		{"serve --shutdown-timeout=9999999999h", "--shutdown-timeout 9999999999h: " + span},
		{"serve --max-running=0", "--max-running 0: it must be a whole number from 1 to 100000"},
		{"serve --max-running=100001", "--max-running 100001: it must be a whole number from 1 to 100000"},
		{"serve --max-running=1.5", "--max-running 1.5: it must be a whole number from 1 to 100000"},
		{"serve --max-running=99999999999999999999", "--max-running 99999999999999999999: it must be a whole number from 1 to 100000"},
		{"serve --allow=,", "--allow ,: each must be exec or http"},
		{"serve --allow=exec,frob", "--allow exec,frob: each must be exec or http"},
		{"serve --node=''", `--node "": ` + name},
		{"serve --log-dir='' --allow=exec", `--log-dir "": it must not be empty`},
		{"serve --log-dir=x", "--log-dir goes with --allow exec: only commands have logs"},

		{"start noop --id=''", `--id "": ` + id},
		{"start noop --queue=''", `--queue "": ` + name},
		{"start noop --queue=a,b", "--queue a,b: " + name},
		{"start noop --priority=4", "--priority 4: it must be a whole number from 0 to 3"},
		{"start noop --priority=-1", "--priority -1: it must be a whole number from 0 to 3"},
		{"start noop --delay=-1s", "--delay -1s: " + span},
		{"start noop --delay=5", "--delay 5: " + span},
		{"start noop --delay=2000000h", "--delay 2000000h: " + span},
		{"start noop --at=tomorrow", "--at tomorrow: it must be a time such as 2026-01-31T15:04:05Z, in the years 1970 to 2261"},
		{"start noop --at=1969-01-31T15:04:05Z", "--at 1969-01-31T15:04:05Z: it must be a time such as 2026-01-31T15:04:05Z, in the years 1970 to 2261"},
		{"start noop --disposition=''", `--disposition "": it must be rerunnable, owner-bound or external`},
		{"start noop --max-attempts=0", "--max-attempts 0: " + count},
		{"start noop --max-attempts=2147483648", "--max-attempts 2147483648: it must be a whole number from 1 to 2147483647"},
		{"start noop --backoff=0", "--backoff 0: " + positive},
		{"start noop --attempt-timeout=-1s", "--attempt-timeout -1s: " + positive},
		{"start noop --deadline=0s", "--deadline 0s: " + positive},
		{"start noop --label=''", `--label "": ` + label},
		{"start noop -l team", "--label team: " + label},
		{"start noop -l =blue", "--label =blue: " + label},
		{"start noop -l a=1 -l a=2", `--label a: it is given as "1" and as "2"`},
		{"start exec --env='' -- true", `--env "": it must be K=V or K`},
		{"start exec --env==x -- true", "--env =x: it must be K=V or K"},
		{"start exec --dir='' -- true", `--dir "": it must not be empty`},
		{"start exec --stdin=file -- true", "--stdin file: it must be @FILE or -"},
		{"start exec --stdin=@ -- true", "--stdin @: it must be @FILE or -"},
		{"start exec -- ''", "name the command after --, such as: -- make release"},
		{"start noop --batch=''", `--batch "": it must not be empty`},
		{"start noop --wait=1s", "--wait 1s: " + boolean},
		{"start a_b", `KIND "a b": ` + name},
		{"start", "name one kind, such as exec: drover start exec -- COMMAND"},

		{"get", "get needs the ID"},
		{"get ''", `ID "": ` + id},
		{"get a b", "get takes one ID, and b is another"},
		{"output ''", `ID "": ` + id},
		{"retry ''", `ID "": ` + id},
		{"logs ''", `ID "": ` + id},
		{"logs a --attempt=0", "--attempt 0: " + count},
		{"watch a ''", `ID "": ` + id},
		{"watch --after=-1", "--after -1: " + count},
		{"wait", "wait needs an ID, or several"},
		{"wait a ''", `ID "": ` + id},
		{"wait a --timeout=-1s", "--timeout -1s: " + span},
		{"wait a --timeout=5", "--timeout 5: " + span},
		{"cancel", "cancel needs an ID, or several"},
		{"cancel a ''", `ID "": ` + id},
		{"abandon a", "--reason is required: it stands on the process as evidence"},
		{"abandon a --reason=_", `--reason " ": it must not be blank`},
		{"abandon '' --reason=x", `ID "": ` + id},

		{"list --limit=0", "--limit 0: it must be a whole number from 1 to 10000"},
		{"list --limit=10001", "--limit 10001: it must be a whole number from 1 to 10000"},
		{"list --status=''", `--status "": ` + statuses},
		{"list --status=,", "--status ,: " + statuses},
		{"list --status=running,done", "--status running,done: " + statuses},
		{"list --kind=''", `--kind "": ` + name},
		{"list --queue=a/b", "--queue a/b: " + name},
		{"list -l team", "--label team: " + label},
		{"list a", "list takes no arguments, and a was given"},
		{"prune", "--older-than is required, such as --older-than 24h"},
		{"prune --older-than=1d", "--older-than 1d: " + span},
		{"prune --older-than=-1h", "--older-than -1h: " + span},
		{"prune --older-than=1h --status=running", "--status running: each must be completed, failed, cancelled or abandoned"},
		{"doctor --repair=maybe", "--repair maybe: " + boolean},
		{"doctor now", "doctor takes no arguments, and now was given"},
		{"nodes a", "nodes takes no arguments, and a was given"},
		{"queues a", "queues takes no arguments, and a was given"},
		{"status a", "status takes no arguments, and a was given"},
		{"poke a b", "poke takes one NODE, and b is another"},
		{"poke ''", `NODE "": ` + name},
		{"pause", "pause needs the QUEUE"},
		{"pause a,b", "QUEUE a,b: " + name},
		{"resume ''", `QUEUE "": ` + name},

		{"nodes --endpoints=''", `--endpoints "": ` + endpoint},
		{"nodes --endpoints=,", "--endpoints ,: " + endpoint},
		{"nodes --endpoints=127.0.0.1", "--endpoints 127.0.0.1: " + endpoint},
		{"nodes --endpoints=http://", "--endpoints http://: " + endpoint},
		{"nodes --endpoints=ftp://a:1", "--endpoints ftp://a:1: " + endpoint},
		{"nodes --endpoints=a:99999", "--endpoints a:99999: " + endpoint},
		{"nodes --endpoints=a:1,,b:1", "--endpoints a:1,,b:1: " + endpoint},
		{"nodes --data-dir=''", `--data-dir "": it must not be empty`},
		{"nodes -n a/b", "--namespace a/b: " + name},
		{"nodes -n ''", `--namespace "": ` + name},
		{"nodes -o yaml", "--output yaml: it must be text or json"},
		{"nodes --request-timeout=0", "--request-timeout 0: " + positive},
		{"nodes --request-timeout=5", "--request-timeout 5: " + positive},
		{"nodes --cacert=/missing", "--cacert /missing: it must be a file that can be read: no such file or directory"},
		{"nodes --cert=/dev/null", "--cert and --key go together"},
		{"nodes --user=''", `--user "": it must not be empty`},
		{"nodes --password-file=/dev/null", "--password-file needs --user"},
		{"nodes --help=perhaps", "--help perhaps: " + boolean},
		{"nodes --frob", "unknown flag: --frob"},
		{"nods", `there is no command "nods", did you mean logs or nodes?`},
		{"help frob", `there is no command "frob"`},
		{"completion tcsh", `there is no command "tcsh"`},
	} {
		code, out, errs := refused(t, words(tt.args)...)
		if want := "drover: " + tt.says + " (see --help)\n"; code != 2 || out != "" || errs != want {
			t.Errorf("%s: exit code %d, want 2; %q, %q, want %q", tt.args, code, out, errs, want)
		}
	}
}

func words(text string) []string {
	all := strings.Split(strings.ReplaceAll(text, "''", ""), " ")
	for i, word := range all {
		all[i] = strings.ReplaceAll(word, "_", " ")
	}
	return all
}

// Drover's own errors are all 125 there.
func TestWrongUsageOfRunIsItsOwnError(t *testing.T) {
	for args, says := range map[string]string{
		"run --retry=no -- true":             "--retry no: it must be true or false",
		"run --id='' -- true":                `--id "": it must be 1 to 255 bytes of text, not blank, and without control characters`,
		"run --priority=x -- true":           "--priority x: it must be a whole number from 0 to 3",
		"run --disposition=external -- true": "--disposition external: it must be rerunnable or owner-bound",
		"run --max-attempts=0 -- true":       "--max-attempts 0: it must be a whole number, 1 or more",
		"run --backoff=1 -- true":            "--backoff 1: it must be a time such as 30s or 1h30m, more than 0 and at most 876000h",
		"run -l a=1 -l a=2 -- true":          `--label a: it is given as "1" and as "2"`,
		"run --env='' -- true":               `--env "": it must be K=V or K`,
		"run -n a/b -- true":                 "--namespace a/b: it must be 1 to 64 of A-Z a-z 0-9 . _ -",
		"run -- ''":                          "name the command after --, such as: -- make release",
		"run true":                           `"true" stands before --, which is to stand before the command`,
	} {
		code, out, errs := refused(t, words(args)...)
		if want := "drover: " + says + " (see --help)\n"; code != 125 || out != "" || errs != want {
			t.Errorf("%s: exit code %d, want 125; %q, %q, want %q", args, code, out, errs, want)
		}
	}
}

func TestWrongEnvironmentIsRefusedUnlessAFlagSaysOtherwise(t *testing.T) {
	t.Setenv("DROVER_ENDPOINTS", "127.0.0.1")
	t.Setenv("DROVER_NAMESPACE", "a b")
	for args, says := range map[string]string{
		"nodes -n a":                    "DROVER_ENDPOINTS 127.0.0.1: each must be HOST:PORT, http://HOST:PORT or https://HOST:PORT",
		"nodes --endpoints 127.0.0.1:1": `DROVER_NAMESPACE "a b": it must be 1 to 64 of A-Z a-z 0-9 . _ -`,
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), strings.Fields(args), strings.NewReader(""), &out, &errs)
		if want := "drover: " + says + " (see --help)\n"; code != 2 || errs.String() != want {
			t.Errorf("%s: exit code %d, want 2; %q, want %q", args, code, errs.String(), want)
		}
	}
}

// Of a flag that is given twice the last counts, but for lists, which grow.
func TestFlagsGivenTwice(t *testing.T) {
	c := &cli{}
	root := c.root()
	cmd, rest, err := root.Find([]string{"list", "--limit", "5", "--limit", "7", "--status", "failed", "--status=running, parked", "-l", "a=1", "-l", "b=2", "--queue", "x", "--queue", "y"})
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]string{"limit": "7", "status": "[failed,running,parked]", "queue": "y"} {
		if got := cmd.Flag(flag).Value.String(); got != want {
			t.Errorf("--%s is %s, want %s", flag, got, want)
		}
	}
}
