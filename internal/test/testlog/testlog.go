// Package testlog keeps what servers and commands write, for a test that reads it meanwhile.
package testlog

import (
	"bytes"
	"strings"
	"sync"
)

// Log is what was written to it so far. The zero value is empty; it is safe for
// concurrent use, as a file is.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements [io.Writer].
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns what was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Has reports whether a line has all of the words.
func (l *Log) Has(words ...string) bool {
	for line := range strings.Lines(l.String()) {
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			return true
		}
	}
	return false
}
