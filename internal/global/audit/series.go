package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// filesPerClass is into how many files a class is cut: the oldest of them is what is
// lost at a time.
const filesPerClass = 8

// maxLine bounds a line that is read back.
const maxLine = 64 << 10

// series is the files of one class. The lock of its Log guards it; flushing is held
// by who makes lines durable, and taken before that lock.
type series struct {
	dir     string
	class   Class
	fileMax int64

	flushing sync.Mutex

	file *os.File // the newest, nil until the first write
	size int64
	left []*os.File // to be closed
	// written is the last line's number; up to synced they are durable, and up to
	// lost nobody knows.
	written, synced, lost uint64

	// expected is how many appended lines nobody waits for yet; settled, where it is
	// not nil, is closed when there is none.
	expected int
	settled  chan struct{}
}

// name is that of the file that begins with a record.
func (s *series) name(first uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%s-%020d.jsonl", s.class, first))
}

// firsts returns the numbers that files begin with, ascending.
func (s *series) firsts() ([]uint64, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var firsts []uint64
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), string(s.class)+"-")
		number, isFile := strings.CutSuffix(number, ".jsonl")
		if first, err := strconv.ParseUint(number, 10, 64); ok && isFile && err == nil {
			firsts = append(firsts, first)
		}
	}
	slices.Sort(firsts)
	return firsts, nil
}

// resume opens the newest file and cuts off half a line at its end. It returns the
// last number in it, 0 where there is none.
func (s *series) resume() (last uint64, err error) {
	firsts, err := s.firsts()
	if err != nil || len(firsts) == 0 {
		return 0, err
	}
	first := firsts[len(firsts)-1]
	file, err := os.OpenFile(s.name(first), os.O_RDWR, 0o600)
	if err != nil {
		return 0, err
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return 0, errors.Join(err, file.Close())
	}
	whole := int64(bytes.LastIndexByte(data, '\n') + 1)
	if whole < int64(len(data)) {
		if err := file.Truncate(whole); err != nil {
			return 0, errors.Join(err, file.Close())
		}
	}
	s.file, s.size = file, whole
	last = first - 1
	for line := range bytes.Lines(data[:whole]) {
		var r struct{ Seq uint64 }
		if json.Unmarshal(line, &r) == nil {
			last = max(last, r.Seq)
		}
	}
	return last, nil
}

// append writes a line, whole or not at all.
func (s *series) append(seq uint64, line []byte) error {
	if s.file == nil || s.size+int64(len(line)) > s.fileMax {
		if err := s.next(seq); err != nil {
			return err
		}
	}
	n, err := s.file.WriteAt(line, s.size)
	if err != nil {
		if n > 0 && s.file.Truncate(s.size) != nil {
			// What stands there now is unknown: the next line begins a new file.
			s.leave()
		}
		return err
	}
	s.size += int64(n)
	s.written = seq
	return nil
}

// next begins a new file and takes away those that are too many.
func (s *series) next(first uint64) error {
	file, err := os.OpenFile(s.name(first), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return errors.Join(err, file.Close(), os.Remove(file.Name()))
	}
	s.leave()
	s.file, s.size = file, 0
	firsts, err := s.firsts()
	if err != nil {
		return nil // they are taken away the next time
	}
	for len(firsts) > filesPerClass {
		_ = os.Remove(s.name(firsts[0])) // the same
		firsts = firsts[1:]
	}
	return nil
}

// moved reports whether the newest file is not at its name any more.
func (s *series) moved() bool {
	if s.file == nil {
		return false
	}
	is, err := s.file.Stat()
	if err != nil {
		return true
	}
	there, err := os.Stat(s.file.Name())
	return err != nil || !os.SameFile(is, there)
}

// leave makes the file durable and leaves it behind. It is closed by the next
// flush: one may be under way on it.
func (s *series) leave() {
	if s.file == nil {
		return
	}
	if s.file.Sync() != nil {
		s.lost = s.written
	} else {
		s.synced = s.written
	}
	s.left = append(s.left, s.file)
	s.file, s.size = nil, 0
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
