package runlog

import (
	"slices"
	"sync"
)

// The bounds of what is kept of a log.
const (
	maxKept = 512 << 10 // bytes of all lines
	maxLine = 8 << 10   // bytes of one
)

// Recent keeps the last lines of a log in memory, each one JSON object. It is an io.Writer
// that takes a line at a time, and safe for concurrent use.
type Recent struct {
	mu    sync.Mutex
	lines [][]byte
	size  int
	left  uint64 // lines that were dropped
}

// Write implements io.Writer. A line that is too long is left out, and counted.
func (r *Recent) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(line) > maxLine {
		r.left++
		return len(line), nil
	}
	r.lines = append(r.lines, slices.Clone(line))
	r.size += len(line)
	drop := 0
	for ; r.size > maxKept; drop++ {
		r.size -= len(r.lines[drop])
		r.lines[drop] = nil
	}
	r.lines, r.left = r.lines[drop:], r.left+uint64(drop)
	return len(line), nil
}

// Lines returns what is kept, oldest first, and how many lines are gone.
func (r *Recent) Lines() (lines [][]byte, gone uint64) {
	if r == nil {
		return nil, 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines), r.left
}
