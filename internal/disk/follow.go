package disk

import (
	"context"
	"sync"
	"time"
)

// Following is what a [Follower] is made of. C is the contents of the files that are
// followed.
type Following[C any] struct {
	// Read returns what the files hold now.
	Read func() (C, error)
	// Same reports whether two contents need not be told apart.
	Same func(a, b C) bool
	// Use puts contents into use, all of it or nothing: an error leaves the former
	// contents in use.
	Use func(C) error
	// Failed is told that new contents cannot be read or used, once for each cause
	// and only when two looks in a row have found it.
	Failed func(error)
	// Settled takes over only contents that two looks in a row have found: for files
	// of which the first half could mean more than the whole.
	Settled bool
}

// Follower keeps in use what files hold while they are replaced. The files are read
// again and again, not watched: a rename, a Kubernetes symlink swap and a file system
// without notifications all look the same, for a few KB from the page cache.
//
// A look may fall between the replacements of two files, or into a write. Contents
// that cannot be used leave the former in use, and are reported when the next look
// finds the same.
//
// Its methods are safe for concurrent use.
type Follower[C any] struct {
	cfg Following[C]

	mu       sync.Mutex
	used     C
	seen     *C     // what the last look found; nil if it could not read
	lastErr  string // what was wrong at the last look, "" if nothing
	failures int    // how many looks in a row found lastErr
}

// Follow reads the files and uses what they hold. What is wrong with them is an error
// now; later, in [Follower.Check], what was good before stays in use.
func Follow[C any](cfg Following[C]) (*Follower[C], error) {
	c, err := cfg.Read()
	if err != nil {
		return nil, err
	}
	if err := cfg.Use(c); err != nil {
		return nil, err
	}
	return &Follower[C]{cfg: cfg, used: c, seen: &c}, nil
}

// Run checks the files at each interval until ctx ends. It returns nil.
func (f *Follower[C]) Run(ctx context.Context, every time.Duration) error {
	return Poll(ctx, every, f.Check)
}

// Check reads the files once and takes over what changed in them.
func (f *Follower[C]) Check() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.takeOver(); err != nil {
		f.fail(err)
		return
	}
	f.lastErr, f.failures = "", 0
}

func (f *Follower[C]) takeOver() error {
	before := f.seen
	f.seen = nil
	c, err := f.cfg.Read()
	if err != nil {
		return err
	}
	f.seen = &c
	if f.cfg.Same(f.used, c) {
		return nil
	}
	if f.cfg.Settled && (before == nil || !f.cfg.Same(*before, c)) {
		return nil
	}
	if err := f.cfg.Use(c); err != nil {
		return err
	}
	f.used = c
	return nil
}

func (f *Follower[C]) fail(err error) {
	if text := err.Error(); text != f.lastErr {
		f.lastErr, f.failures = text, 0
	}
	if f.failures++; f.failures == 2 {
		f.cfg.Failed(err)
	}
}

// Poll calls look at each interval until ctx ends. It returns nil.
func Poll(ctx context.Context, every time.Duration, look func()) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			look()
		}
	}
}
