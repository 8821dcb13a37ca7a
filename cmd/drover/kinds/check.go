package kinds

import "encoding/json"

// CheckInput says what is wrong with the input of one of these kinds, so that
// it can be refused before it is stored. Of other kinds it knows nothing.
func CheckInput(kind string, input json.RawMessage) error {
	switch kind {
	case "exec":
		_, err := ParseExecInput(input)
		return err
	case "http":
		_, err := ParseHTTPInput(input)
		return err
	case "sleep":
		_, err := parseSleep(input)
		return err
	default:
		return nil
	}
}
