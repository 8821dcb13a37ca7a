package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drover-run/drover/cmd/drover/kinds"
	"github.com/drover-run/drover/registry"
)

// seen is a printer, and what it printed.
func seen(format outputFormat) (*logPrinter, *bytes.Buffer, *bytes.Buffer) {
	var out, errs bytes.Buffer
	return &logPrinter{cli: &cli{stdout: &out, stderr: &errs, global: globalFlags{output: format}}}, &out, &errs
}

func running(attempt int, bytes int64, tail string) registry.Process {
	progress, err := json.Marshal(kinds.ExecProgress{Attempt: attempt, Stdout: kinds.StreamProgress{Bytes: bytes, Tail: tail}})
	if err != nil {
		panic(err)
	}
	return registry.Process{ID: "p", Kind: kindExec, Status: registry.StatusRunning, Attempt: attempt, Progress: progress}
}

func completed(attempt int, stdout string, truncated bool) registry.Process {
	output := kinds.ExecOutput{Stdout: stdout, Truncated: truncated}.Encode()
	return registry.Process{ID: "p", Kind: kindExec, Status: registry.StatusCompleted, Attempt: attempt, Output: output}
}

func TestLogsPrintNothingTwice(t *testing.T) {
	const missing = "drover: the process keeps only the end of a long output: what came before it is not shown\n"
	for name, tt := range map[string]struct {
		looks    []registry.Process
		out, err string
	}{
		"as it comes":               {[]registry.Process{running(1, 2, "ab"), running(1, 2, "ab"), running(1, 4, "abcd"), completed(1, "abcdef", false)}, "abcdef", ""},
		"nothing before its end":    {[]registry.Process{completed(1, "ab", false)}, "ab", ""},
		"all before its end":        {[]registry.Process{running(1, 2, "ab"), completed(1, "ab", false)}, "ab", ""},
		"a gap":                     {[]registry.Process{running(1, 2, "ab"), running(1, 9, "hi")}, "abhi", "drover: 5 bytes of stdout are not shown: the live tail is too short for them\n"},
		"a gap at the beginning":    {[]registry.Process{running(1, 9, "hi")}, "hi", "drover: 7 bytes of stdout are not shown: the live tail is too short for them\n"},
		"a long one":                {[]registry.Process{running(1, 6, "cdef"), completed(1, "defgh", true)}, "cdefdefgh", "drover: 2 bytes of stdout are not shown: the live tail is too short for them\n" + missing},
		"a long one that joins":     {[]registry.Process{running(1, 4, "abcd"), completed(1, "bcabcdef", true)}, "abcdbcabcdef", missing},
		"a long one, joined":        {[]registry.Process{running(1, 8, "cdef"), completed(1, "abcdefgh", true)}, "cdefgh", "drover: 4 bytes of stdout are not shown: the live tail is too short for them\n"},
		"a long one that repeats":   {[]registry.Process{running(1, 2, "y\n"), completed(1, strings.Repeat("y\n", 3), true)}, strings.Repeat("y\n", 3), ""},
		"a long one, never seen":    {[]registry.Process{completed(1, "end", true)}, "end", missing},
		"the next attempt":          {[]registry.Process{running(1, 2, "ab"), running(2, 1, "c"), completed(2, "cd", false)}, "abcd", "drover: attempt 2\n"},
		"the next one is not begun": {[]registry.Process{running(2, 2, "ab"), running(1, 1, "c")}, "ab", ""},
		"what is no progress":       {[]registry.Process{{ID: "p", Status: registry.StatusRunning, Attempt: 1, Progress: json.RawMessage(`{"stdout":{"bytes":1,"tail":"abc"}}`)}}, "", ""},
	} {
		l, out, errs := seen(formatText)
		for _, p := range tt.looks {
			if err := l.look(p, 0); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if out.String() != tt.out || errs.String() != tt.err {
			t.Errorf("%s: %q, %q; want %q, %q", name, out.String(), errs.String(), tt.out, tt.err)
		}
	}
}

func TestLogsTellWhyThereIsAnotherAttempt(t *testing.T) {
	l, _, errs := seen(formatText)
	p := running(2, 1, "b")
	p.History = []registry.PastAttempt{{Attempt: 1, Error: "exit status 3:\n no luck"}}
	if err := l.look(running(1, 1, "a"), 0); err != nil {
		t.Fatal(err)
	}
	if err := l.look(p, 0); err != nil {
		t.Fatal(err)
	}
	if got, want := errs.String(), "drover: attempt 2 (attempt 1: exit status 3:; no luck)\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLogsFollowTheFileIfItIsHere(t *testing.T) {
	place := kinds.ExecLog{Node: "n1", Stdout: filepath.Join(t.TempDir(), "1.2.stdout")}
	place.Stderr = kinds.StderrLog(place.Stdout)
	write := func(path, text string) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	progress, err := json.Marshal(kinds.ExecProgress{Attempt: 1, Stdout: kinds.StreamProgress{Bytes: 99, Tail: "tail"}, Log: &place})
	if err != nil {
		t.Fatal(err)
	}
	p := registry.Process{ID: "p", Kind: kindExec, Status: registry.StatusRunning, Attempt: 1, Progress: progress}
	for _, tt := range []struct {
		format   outputFormat
		out, err string
	}{
		{formatText, "one\n\xe2\x82\xac\xfftwo\n", "err\n"},
		{formatJSON, `{"attempt":1,"stream":"stdout","data":"one\n"}
{"attempt":1,"stream":"stdout","data":"€\ufffd"}
{"attempt":1,"stream":"stdout","data":"two\n"}
{"attempt":1,"stream":"stderr","data":"err\n"}
`, ""},
	} {
		l, out, errs := seen(tt.format)
		for _, text := range []string{"one\n\xe2", "\x82\xac\xff", "two\n"} {
			write(place.Stdout, text)
			write(place.Stderr, "")
			if text == "two\n" {
				write(place.Stderr, "err\n")
				p.Status, p.Progress = registry.StatusFailed, nil
			}
			if err := l.look(p, 0); err != nil {
				t.Fatal(err)
			}
		}
		l.close()
		if out.String() != tt.out || errs.String() != tt.err {
			t.Errorf("%s: %q, %q; want %q, %q", tt.format, out.String(), errs.String(), tt.out, tt.err)
		}
		p.Status, p.Progress = registry.StatusRunning, progress
		for _, path := range []string{place.Stdout, place.Stderr} {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLogsOfOneAttempt(t *testing.T) {
	dir := t.TempDir()
	here := filepath.Join(dir, "1.5.stdout")
	for path, text := range map[string]string{here: "whole\n", kinds.StderrLog(here): "err\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := completed(4, "last\n", false)
	p.History = []registry.PastAttempt{
		{Attempt: 1, Node: "n1", Log: here},
		{Attempt: 2, Node: "n2", Log: "/missing/2.6.stdout"},
		{Attempt: 3, Node: "n3", Error: "exit status 3"},
		{Attempt: 4, Node: "n2", Log: "/missing/4.8.stdout"},
	}
	for n, want := range map[int][3]string{
		1: {"whole\n", "err\n", ""},
		2: {"", "", "the log of attempt 2 is on node n2, in /missing/2.6.stdout and /missing/2.6.stderr: there is none on this machine"},
		3: {"", "", "there is no log of attempt 3: node n3 kept none (see: drover serve --log-dir). It ended with: exit status 3"},
		4: {"last\n", "", ""},
	} {
		l, out, errs := seen(formatText)
		var says string
		if err := l.attemptOf(p, n); err != nil {
			says = err.Error()
		}
		l.close()
		if got := [3]string{out.String(), errs.String(), says}; got != want {
			t.Errorf("attempt %d: %q, want %q", n, got, want)
		}
	}
	p.History = p.History[2:]
	l, _, _ := seen(formatText)
	if err := l.attemptOf(p, 1); err == nil || !strings.Contains(err.Error(), "remembers its last 2 attempts only") {
		t.Errorf("an attempt that is forgotten: %v", err)
	}
}
