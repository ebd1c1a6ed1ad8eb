package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/loglimit"
)

// DefaultRoom is how many bytes the files have altogether.
const DefaultRoom = 256 << 20

// Options are what a Log is opened with. The zero value is good.
type Options struct {
	// Room is how many bytes the files may have altogether; 0: DefaultRoom. It is
	// shared out evenly among the classes.
	Room   int64
	Logger *slog.Logger     // nil: no log
	Now    func() time.Time // nil: time.Now
}

// Log is the audit log of one member. Its methods are safe for concurrent use. A nil
// Log keeps nothing.
type Log struct {
	dir   string
	now   func() time.Time
	log   *slog.Logger
	lines *loglimit.Limiter

	mu     sync.Mutex
	seq    uint64
	series map[Class]*series
	open   map[uint64]bool // acts that have begun and not ended
	stats  Stats
}

// Stats are counted since the start.
type Stats struct {
	Records    map[string]uint64 // by class
	Suppressed uint64            // refusals that were left out
	Failures   uint64            // records that could not be written
}

// Open opens the log in a folder, which it makes, and ends the acts that a process
// left without an end.
func Open(dir string, o Options) (*Log, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Room <= 0 {
		o.Room = DefaultRoom
	}
	l := &Log{
		dir: dir, now: o.Now, log: o.Logger, lines: loglimit.New(loglimit.PerSecond, o.Now),
		series: map[Class]*series{}, open: map[uint64]bool{}, stats: Stats{Records: map[string]uint64{}},
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unusable(dir, err)
	}
	for _, class := range Classes {
		s := &series{dir: dir, class: class, fileMax: max(maxLine, o.Room/int64(len(Classes))/filesPerClass)}
		last, err := s.resume()
		if err != nil {
			return nil, errors.Join(unusable(dir, err), l.Close())
		}
		l.series[class] = s
		l.seq = max(l.seq, last)
	}
	if err := l.endOrphans(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func unusable(dir string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return federation.Errorf(federation.Internal, "the audit log in %s cannot be used: %w", dir, err).
		WithHint("check the owner and mode of the folder, and that its disk is not full")
}

// Close gives the files back.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, s := range l.series {
		s.leave()
		for _, f := range s.left {
			errs = append(errs, f.Close())
		}
		s.left = nil
	}
	return errors.Join(errs...)
}

// Reopen has the next record of a class begin a new file where the newest one was moved
// away: nothing more is written to that. A file in its place is gone on with, because each
// new one takes an old one away.
func (l *Log) Reopen() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.series {
		if s.moved() {
			s.leave()
		}
	}
}

// Stats returns what was counted.
func (l *Log) Stats() Stats {
	if l == nil {
		return Stats{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Records = map[string]uint64{}
	for class, n := range l.stats.Records {
		s.Records[class] = n
	}
	return s
}

// Act is something that has begun.
type Act struct {
	log   *Log
	began Record
}

// Begin writes that an act begins, and returns when that is durable. Where it
// returns an error the act must not take place.
func (l *Log) Begin(r Record) (*Act, error) {
	r.Outcome = Begun
	if l == nil {
		return &Act{began: r}, nil
	}
	seq, err := l.durable(r)
	r.Seq = seq
	if err != nil {
		return nil, err
	}
	return &Act{log: l, began: r}, nil
}

// End writes how the act ended. It cannot be undone by then: an error is for the log.
func (a *Act) End(r Record) error {
	if a.log == nil {
		return nil
	}
	r.Class, r.Began = a.began.Class, a.began.Seq
	_, err := a.log.durable(r)
	a.log.mu.Lock()
	delete(a.log.open, a.began.Seq)
	a.log.mu.Unlock()
	return err
}

// Write writes a record that has no beginning, and returns when it is durable.
func (l *Log) Write(r Record) error {
	if l == nil {
		return nil
	}
	_, err := l.durable(r)
	return err
}

// Line is a record that is written and may not be on the disk yet.
type Line struct {
	log    *Log
	record Record
	open   bool // it is not known yet when it has to be durable
}

// Append writes a record and does not wait for the disk: what it tells of must not
// leave this process before [Line.Durable] has returned. One of Durable and Correct
// must be called: others that wait for the disk meanwhile may wait for it, a few
// milliseconds at most.
func (l *Log) Append(r Record) (*Line, error) {
	if l == nil {
		return &Line{}, nil
	}
	l.mu.Lock()
	seq, err := l.append(r)
	if err == nil {
		l.series[r.Class].expected++
	}
	l.mu.Unlock()
	r.Seq = seq
	if err != nil {
		return nil, l.unwritable(seq, err)
	}
	return &Line{log: l, record: r, open: true}, nil
}

// Durable returns when the line is on the disk.
func (n *Line) Durable() error {
	if n.log == nil {
		return nil
	}
	n.settle()
	s := n.log.series[n.record.Class]
	if err := n.log.flush(s, n.record.Seq); err != nil {
		return n.log.unwritable(n.record.Seq, err)
	}
	return nil
}

// Correct writes how that ended which the line says was done, and was not.
func (n *Line) Correct(r Record) error {
	if n.log == nil {
		return nil
	}
	n.settle()
	r.Class, r.Began = n.record.Class, n.record.Seq
	return n.log.Write(r)
}

// settle lets those who wait for the line go on.
func (n *Line) settle() {
	if !n.open {
		return
	}
	n.open = false
	n.log.mu.Lock()
	defer n.log.mu.Unlock()
	s := n.log.series[n.record.Class]
	if s.expected--; s.expected == 0 && s.settled != nil {
		close(s.settled)
		s.settled = nil
	}
}

// Refuse writes that somebody was refused, unless too many were in this second.
func (l *Log) Refuse(r Record) {
	if l == nil {
		return
	}
	kind := "stranger"
	if r.User != "" {
		kind = "user" // whom strangers cannot crowd out
	}
	suppressed, ok := l.lines.Allow(kind)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !ok {
		l.stats.Suppressed++
		return
	}
	r.Class, r.Outcome, r.Suppressed = Refusal, Refused, suppressed
	if _, err := l.append(r); err != nil {
		l.lines.Log(context.Background(), l.log, slog.LevelError, "a refusal is missing from the audit log", slog.Any("error", err))
	}
}

// durable writes a record and waits until it is on the disk. Many that wait share
// one sync.
func (l *Log) durable(r Record) (seq uint64, err error) {
	l.mu.Lock()
	seq, err = l.append(r)
	if err == nil && r.Outcome == Begun {
		l.open[seq] = true
	}
	l.mu.Unlock()
	if err == nil {
		err = l.flush(l.series[r.Class], seq)
	}
	if err == nil {
		return seq, nil
	}
	return seq, l.unwritable(seq, err)
}

// unwritable counts a record that is not on the disk, and says so.
func (l *Log) unwritable(seq uint64, err error) error {
	l.mu.Lock()
	l.stats.Failures++
	delete(l.open, seq)
	l.mu.Unlock()
	e := federation.Errorf(federation.Unavailable, "the audit log of this member cannot be written: %w", err).WithReason("audit_unavailable").
		WithHint("make room on the disk of the node's data folder, or ask another member")
	e.RetryAfter = 5 * time.Second
	return e
}

// append numbers, stamps and writes a record. The lock is held.
func (l *Log) append(r Record) (uint64, error) {
	s := l.series[r.Class]
	if s == nil {
		return 0, errors.New("a record without a class")
	}
	r.bound()
	l.seq++
	r.Seq, r.Time, r.Member = l.seq, l.now().UTC().Truncate(time.Microsecond), ""
	line, err := json.Marshal(r)
	if err == nil {
		err = s.append(r.Seq, append(line, '\n'))
	}
	if err != nil {
		return r.Seq, err
	}
	l.stats.Records[string(r.Class)]++
	return r.Seq, nil
}

// endOrphans writes the end of acts whose process ended first. They are in the newest
// files: an act takes minutes at most.
func (l *Log) endOrphans() error {
	for _, class := range []Class{Change, Revocation} {
		s := l.series[class]
		firsts, err := s.firsts()
		if err != nil {
			return unusable(l.dir, err)
		}
		begun := map[uint64]Record{}
		for _, first := range firsts[max(0, len(firsts)-2):] {
			data, err := readFile(s.name(first))
			if err != nil {
				return unusable(l.dir, err)
			}
			for line := range bytes.Lines(data) {
				var r Record
				if json.Unmarshal(line, &r) != nil {
					continue
				}
				if r.Outcome == Begun {
					begun[r.Seq] = r
				}
				delete(begun, r.Began)
			}
		}
		for _, seq := range slices.Sorted(maps.Keys(begun)) {
			r := begun[seq]
			r.Began, r.Outcome, r.Detail = r.Seq, Unknown, "the process ended before it was known"
			if _, err := l.durable(r); err != nil {
				return unusable(l.dir, err)
			}
		}
	}
	return nil
}

// readFile reads a file that may have gone meanwhile.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}
