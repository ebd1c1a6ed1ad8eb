package access

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/meridiankds/meridian/federation"
)

// callerHeader carries a caller from the member that authenticated it to the one
// that acts: base64 of JSON, because names and groups may hold any character.
const callerHeader = "Meridian-Caller"

// maxCaller bounds the header: it stems from a token, which has at most 8 KiB.
const maxCaller = 24 << 10

// carried is a [Caller] as it travels.
type carried struct {
	Name   string   `json:"name"`
	Groups []string `json:"groups"`
	Via    string   `json:"via"`
	Remote string   `json:"remote"`
}

// SetHeader writes c into the header of a request to another member.
func (c Caller) SetHeader(h http.Header) {
	data, err := json.Marshal(carried(c))
	if err != nil {
		return // cannot happen: strings only. Without the header the request is refused.
	}
	h.Set(callerHeader, base64.StdEncoding.EncodeToString(data))
}

// forwardedCaller reads what SetHeader wrote.
func forwardedCaller(h http.Header) (Caller, error) {
	bad := federation.Errorf(federation.Unauthenticated, "the peer does not say whose request this is").WithReason("missing_caller")
	values := h.Values(callerHeader)
	if len(values) != 1 || len(values[0]) > maxCaller {
		return Caller{}, bad
	}
	data, err := base64.StdEncoding.DecodeString(values[0])
	if err != nil {
		return Caller{}, bad
	}
	var c carried
	if err := json.Unmarshal(data, &c); err != nil || c.Name == "" || !slices.Contains(Ways[:], c.Via) {
		return Caller{}, bad
	}
	return Caller(c), nil
}
