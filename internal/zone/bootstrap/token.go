package bootstrap

import (
	"bytes"
	"encoding/json"
)

// tokenField is where kuma-dp puts the proxy's token.
const tokenField = "dataplaneToken"

// TokenOf returns the token in a body without making anything of the rest: "" where it
// holds none, or is not a JSON object. It is not verified, and [ParseRequest] decides
// what the body says.
func TokenOf(body []byte) string {
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return ""
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return ""
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return ""
		}
		if name == tokenField {
			var token string
			if json.Unmarshal(value, &token) != nil {
				return ""
			}
			return token
		}
	}
	return ""
}
