package apitypes

import "time"

// LogLevel is the answer of GET and POST /v1/log-level: what a server's log writes.
type LogLevel struct {
	Node  string `json:"node"`  // the member's id, or the zone
	Level string `json:"level"` // debug, info, warn or error
	// Configured is the level of the settings, to which the log goes back.
	Configured string `json:"configured"`
	// Until is when a level ends that was set for a time.
	Until *time.Time `json:"until,omitempty"`
}

// LogLevelRequest is the body of POST /v1/log-level.
type LogLevelRequest struct {
	// Level is debug, info, warn or error; "configured" goes back to that of the settings.
	Level string `json:"level"`
	// For is how long it holds, a duration as Go writes it; empty: until SIGHUP or a restart.
	For string `json:"for,omitempty"`
}

// XDSAccept is the body of POST /v1/xds/accept at a zone, and its answer: what a folder of
// resources held whose files are gone may go.
type XDSAccept struct {
	// Digest is what the problem in the zone's status names.
	Digest string `json:"digest"`
	// Folder is in the answer: which one it was.
	Folder string `json:"folder,omitempty"`
}
