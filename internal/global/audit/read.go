package audit

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/meridiankds/meridian/internal/clock"
)

// maxScan bounds how many bytes a query looks through before it answers with what it
// has found so far.
const maxScan = 32 << 20

// MaxPage is the largest page.
const MaxPage = 1000

// Read answers a query, newest first. Of an act that has ended only the end is
// shown.
func (l *Log) Read(q Query) (Page, error) {
	page := Page{Records: []Record{}}
	if l == nil {
		return page, nil
	}
	q.Limit = min(max(q.Limit, 1), MaxPage)
	before := q.Before
	if before == 0 {
		before = math.MaxUint64
	}
	var readers []*backwards
	for _, class := range Classes {
		if q.Class == "" || q.Class == class {
			readers = append(readers, &backwards{series: &series{dir: l.dir, class: class}, before: before})
		}
	}
	if q.Before == 0 {
		for _, b := range readers {
			oldest, dropped, err := b.series.oldest()
			if err != nil {
				return Page{}, unusable(l.dir, err)
			}
			if dropped {
				page.Since = clock.Last(page.Since, oldest)
			}
			if !oldest.IsZero() && (page.Began.IsZero() || clock.Earlier(oldest, page.Began)) {
				page.Began = oldest
			}
		}
	}
	scanned, ofToken := 0, q.aboutTokens()
	for {
		newest := -1
		for i, b := range readers {
			if err := b.fill(&scanned, &page.Damaged); err != nil {
				return Page{}, unusable(l.dir, err)
			}
			if b.head != nil && (newest < 0 || b.head.Seq > readers[newest].head.Seq) {
				newest = i
			}
		}
		if newest < 0 {
			return page, nil
		}
		r := *readers[newest].head
		readers[newest].head = nil
		if r.Outcome == Begun && !l.isOpen(r.Seq) || !q.wants(&r) || !ofToken(&r) {
			if scanned < maxScan {
				continue
			}
			page.Next = r.Seq
			return page, nil
		}
		page.Records = append(page.Records, r)
		if len(page.Records) == q.Limit || scanned >= maxScan {
			page.Next = r.Seq
			return page, nil
		}
	}
}

// oldest is the time of the oldest record of a series, and whether the series has dropped
// some, or may have.
func (s *series) oldest() (at time.Time, dropped bool, err error) {
	firsts, err := s.firsts()
	if err != nil || len(firsts) == 0 {
		return at, false, err
	}
	data, err := readFile(s.name(firsts[0]))
	if err != nil {
		return at, false, err
	}
	line, _, _ := bytes.Cut(data, []byte{'\n'})
	var r Record
	if json.Unmarshal(line, &r) != nil {
		return at, false, nil
	}
	return r.Time, len(firsts) >= filesPerClass, nil
}

func (l *Log) isOpen(seq uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open[seq]
}

// backwards reads the lines of a series from the newest.
type backwards struct {
	series *series
	before uint64

	files []uint64 // those not yet read, ascending; nil before the first look
	begun bool
	lines [][]byte // of the file that is read, ascending
	head  *Record
}

// fill makes head the next record before the bound, unless there is one; it stays
// nil at the end.
func (b *backwards) fill(scanned, damaged *int) error {
	if !b.begun {
		b.begun = true
		files, err := b.series.firsts()
		if err != nil {
			return err
		}
		b.files = files
	}
	for b.head == nil {
		if len(b.lines) == 0 {
			if len(b.files) == 0 {
				return nil
			}
			first := b.files[len(b.files)-1]
			b.files = b.files[:len(b.files)-1]
			if first >= b.before {
				continue
			}
			data, err := readFile(b.series.name(first))
			if err != nil {
				return err
			}
			data = data[:bytes.LastIndexByte(data, '\n')+1] // the rest is being written
			*scanned += len(data)
			b.lines = slices.Collect(bytes.Lines(data))
			continue
		}
		line := b.lines[len(b.lines)-1]
		b.lines = b.lines[:len(b.lines)-1]
		var r Record
		if len(line) > maxLine || json.Unmarshal(line, &r) != nil || r.Seq == 0 {
			*damaged++
			continue
		}
		if r.Seq < b.before {
			b.head = &r
		}
	}
	return nil
}
