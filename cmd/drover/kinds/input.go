package kinds

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// decodeStrictly refuses what it does not know: a misspelt field is not to be found out by what did not happen.
func decodeStrictly(input json.RawMessage, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(input))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("there is none")
	case err != nil:
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one JSON value")
	}
	return nil
}
