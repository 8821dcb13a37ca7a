package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// encode writes JSON without HTML escaping: with it, half a MiB of '<' would
// become 3 MiB, over what etcd takes in one request.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Encode writes v as the JSON that inputs and outputs are stored as: compact
// and without HTML escaping. A json.RawMessage is checked and compacted. The
// error is encoding/json's.
func Encode(v any) (json.RawMessage, error) { return encode(v) }

// compact checks and compacts JSON that somebody else wrote, byte for byte
// otherwise: the same input must have the same hash whatever its white space.
func compact(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// decodeStrictly refuses fields that v does not have, and anything behind it.
func decodeStrictly(raw json.RawMessage, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the value")
	}
	return nil
}

// Duration is a time.Duration that is written as text ("1m30s") in JSON.
type Duration time.Duration

// String is the Go notation, such as "1m30s".
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("not a duration such as 1m30s: %q", text)
	}
	*d = Duration(v)
	return nil
}
