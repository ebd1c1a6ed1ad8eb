package disk

import (
	"os"
	"syscall"
	"time"
)

// pipeTimeout is how long what is no file may take to say what it holds.
const pipeTimeout = 10 * time.Second

// Open opens a file that is read again and again, where something else may stand at any look.
// A named pipe that nobody writes to, which would hold up whoever opens it for ever, is opened
// at once and empty; one that is written to slowly is read for ten seconds.
func Open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	_ = f.SetReadDeadline(time.Now().Add(pipeTimeout)) // a file needs none, and takes none
	return f, nil
}
