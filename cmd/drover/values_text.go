package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/drover-run/drover/registry"
)

// timeValue is a point in time.
type timeValue struct{ to *time.Time }

func (v timeValue) String() string { return "" }
func (v timeValue) Type() string   { return "string" }

// Set implements pflag.Value.
func (v timeValue) Set(text string) error {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Year() < 1970 || t.Year() > 2261 {
		return errors.New("it must be a time such as 2026-01-31T15:04:05Z, in the years 1970 to 2261")
	}
	*v.to = t
	return nil
}

// textValue is text that is checked.
type textValue struct {
	to    *string
	check func(string) error
}

func (v textValue) String() string { return *v.to }
func (v textValue) Type() string   { return "string" }

// Set implements pflag.Value.
func (v textValue) Set(text string) error {
	if err := v.check(text); err != nil {
		return err
	}
	*v.to = text
	return nil
}

// notEmpty is for what nobody means to be nothing.
func notEmpty(text string) error {
	if text == "" {
		return errors.New("it must not be empty")
	}
	return nil
}

func notBlank(text string) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("it must not be blank")
	}
	return nil
}

func isName(text string) error {
	if registry.CheckName("name", text) != nil {
		return errors.New("it must be 1 to 64 of A-Z a-z 0-9 . _ -")
	}
	return nil
}

func isID(text string) error {
	if registry.CheckID(text) != nil {
		return errors.New("it must be 1 to 255 bytes of text, not blank, and without control characters")
	}
	return nil
}

// isFile finds out that there is none before etcd is asked for anything. What is
// no file, as a pipe, may be opened but once, by who reads it.
func isFile(path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil
	}
	f, err := os.Open(path)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err // the path is told with the flag
	}
	if err != nil {
		return fmt.Errorf("it must be a file that can be read: %w", err)
	}
	return f.Close()
}

// isAddress is for what is listened at.
func isAddress(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil || !isPort(port) || !isHost(host) {
		return errors.New("it must be HOST:PORT, with a port from 0 to 65535")
	}
	return nil
}

// isAddressIfAny is for what is off when it is empty.
func isAddressIfAny(text string) error {
	if text == "" {
		return nil
	}
	return isAddress(text)
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// isHost leaves it to the system whether there is one of that name.
func isHost(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return unicode.IsSpace(c) || c == '/' })
}

// isEndpoint is for what is connected to.
func isEndpoint(text string) error {
	if strings.HasPrefix(text, "unix:") { // as drover serve names its own
		return nil
	}
	at := text
	if u, err := url.Parse(text); err == nil && strings.Contains(text, "://") {
		switch u.Scheme {
		case "unixs":
			return nil
		case "http", "https":
			at = u.Host
		default:
			at = ""
		}
	}
	if host, port, err := net.SplitHostPort(at); err != nil || host == "" || !isHost(host) || port == "0" || !isPort(port) {
		return errors.New("each must be HOST:PORT, http://HOST:PORT or https://HOST:PORT")
	}
	return nil
}

// oneOf is for text that is one of some words.
func oneOf(words ...string) func(string) error {
	return func(text string) error {
		if slices.Contains(words, text) {
			return nil
		}
		return errors.New("it must be " + or(words))
	}
}

// eachOf is oneOf for the words of a list.
func eachOf(words ...string) func(string) error {
	return func(text string) error {
		if slices.Contains(words, text) {
			return nil
		}
		return errors.New("each must be " + or(words))
	}
}

func or(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// listValue is words with commas between them, and may be given more than once.
type listValue struct {
	to    *[]string
	given *bool
	check func(string) error
}

func list(to *[]string, check func(string) error) listValue {
	return listValue{to: to, given: new(bool), check: check}
}

func (v listValue) String() string {
	if len(*v.to) == 0 {
		return ""
	}
	return "[" + strings.Join(*v.to, ",") + "]"
}
func (v listValue) Type() string { return "stringSlice" }

// Set implements pflag.Value. The first one takes the place of the default.
func (v listValue) Set(text string) error {
	var words []string
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		if err := v.check(word); err != nil {
			return err
		}
		words = append(words, word)
	}
	if *v.given {
		words = append(*v.to, words...)
	}
	*v.to, *v.given = words, true
	return nil
}

// arrayValue is one value each time that the flag is given.
type arrayValue struct {
	to    *[]string
	check func(string) error
}

func (v arrayValue) String() string { return "" }
func (v arrayValue) Type() string   { return "stringArray" }

// Set implements pflag.Value.
func (v arrayValue) Set(text string) error {
	if err := v.check(text); err != nil {
		return err
	}
	*v.to = append(*v.to, text)
	return nil
}

func isLabel(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok || registry.CheckLabels(map[string]string{name: value}) != nil {
		return errors.New("it must be K=V, with a K of 1 to 64 of A-Z a-z 0-9 . _ - and a V of up to 255 bytes of text")
	}
	return nil
}

func isVariable(text string) error {
	if name, _, _ := strings.Cut(text, "="); name == "" {
		return errors.New("it must be K=V or K")
	}
	return nil
}

// isSource is for what is read from somewhere.
func isSource(text string) error {
	if file, ok := strings.CutPrefix(text, "@"); text != "-" && (!ok || file == "") {
		return errors.New("it must be @FILE or -")
	}
	return nil
}
