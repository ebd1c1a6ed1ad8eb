package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// testNow is the clock of a test, which it moves.
type fakeClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(time.Millisecond)
	return c.t
}

func newClock() *fakeClock { return &fakeClock{t: time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)} }

func openLog(t *testing.T, dir string, o Options) *Log {
	t.Helper()
	if o.Now == nil {
		o.Now = newClock().now
	}
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func act(t *testing.T, l *Log, class Class, user string, outcome Outcome) {
	t.Helper()
	r := Record{Class: class, User: user, Action: "PUT /zones/{zone}", RequestID: "r-" + user}
	a, err := l.Begin(r)
	if err != nil {
		t.Fatal(err)
	}
	r.Outcome, r.About = outcome, map[string]string{"zone": "west"}
	if err := a.End(r); err != nil {
		t.Fatal(err)
	}
}

// all reads every record, a page at a time.
func all(t *testing.T, l *Log, q Query) (records []Record, damaged int) {
	t.Helper()
	for {
		page, err := l.Read(q)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, page.Records...)
		damaged += page.Damaged
		if page.Next == 0 {
			return records, damaged
		}
		q.Before = page.Next
	}
}

func users(records []Record) string {
	var names []string
	for _, r := range records {
		names = append(names, r.User+":"+string(r.Outcome))
	}
	return strings.Join(names, " ")
}

func TestWhatWasDoneIsRead(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{})
	act(t, l, Change, "ann", Done)
	if err := l.Write(Record{Class: Issue, User: "ci", Action: "POST /tokens/zone", Outcome: Done, About: map[string]string{"jti": "j-1", "empty": ""}}); err != nil {
		t.Fatal(err)
	}
	l.Refuse(Record{User: "eve", Action: "PUT /zones/{zone}", Status: 403, Reason: "not_allowed"})
	act(t, l, Revocation, "soc", Rejected)
	open, err := l.Begin(Record{Class: Change, User: "bob", Action: "x"})
	if err != nil {
		t.Fatal(err)
	}
	want := "bob:begun soc:rejected eve:refused ci:done ann:done"
	for _, limit := range []int{1, 2, 100} {
		got, damaged := all(t, l, Query{Limit: limit})
		if users(got) != want || damaged != 0 {
			t.Errorf("by %d: %s (%d damaged), want %s", limit, users(got), damaged, want)
		}
	}
	got, _ := all(t, l, Query{Limit: 10})
	since := got[3].Time
	for _, test := range []struct {
		q    Query
		want string
	}{
		{Query{Class: Issue}, "ci:done"}, {Query{Outcome: Refused}, "eve:refused"}, {Query{User: "ann"}, "ann:done"},
		{Query{RequestID: "r-soc"}, "soc:rejected"}, {Query{About: "j-1"}, "ci:done"}, {Query{About: "j-2"}, ""},
		{Query{Since: since}, "bob:begun soc:rejected eve:refused ci:done"}, {Query{Until: since}, "ann:done"},
	} {
		test.q.Limit = 3
		if got, _ := all(t, l, test.q); users(got) != test.want {
			t.Errorf("%+v: %s, want %s", test.q, users(got), test.want)
		}
	}
	// A process that ends here leaves bob's act open: the next one ends it.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir, Options{})
	got, _ = all(t, l, Query{Limit: 100})
	if users(got) != "bob:unknown soc:rejected eve:refused ci:done ann:done" || got[0].Detail == "" {
		t.Errorf("after a restart: %s", users(got))
	}
	for i := 1; i < len(got); i++ {
		if got[i].Seq >= got[i-1].Seq {
			t.Errorf("numbers are not in order: %d after %d", got[i].Seq, got[i-1].Seq)
		}
	}
	_ = open
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Logf("the folder of a test has mode %v", info.Mode())
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// TestRoomIsBounded: files are rotated, and refusals push out no act.
func TestRoomIsBounded(t *testing.T) {
	dir, tick := t.TempDir(), newClock()
	const room = 4 * filesPerClass * maxLine
	l := openLog(t, dir, Options{Room: room, Now: func() time.Time { return tick.now().Add(time.Second) }})
	act(t, l, Change, "first", Done)
	tick2 := func() { tick.mu.Lock(); tick.t = tick.t.Add(time.Second); tick.mu.Unlock() }
	n := 0
	for ; n < 12*maxLine/200; n++ {
		tick2()
		l.Refuse(Record{User: "eve", Action: "GET /zones", Detail: strings.Repeat("x", 400)})
	}
	total := int64(0)
	names, _ := filepath.Glob(filepath.Join(dir, "refusal-*"))
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if len(names) != filesPerClass || total > room/4 {
		t.Errorf("%d files of %d bytes", len(names), total)
	}
	got, _ := all(t, l, Query{Limit: 1000})
	if last := got[len(got)-1]; last.User != "first" {
		t.Errorf("the act is gone: %+v", last)
	}
	if s := l.Stats(); s.Suppressed != 0 || s.Records["refusal"] != uint64(n) {
		t.Errorf("%+v", s)
	}
	got, _ = all(t, l, Query{Class: Refusal, Limit: 1000})
	if !slices.IsSortedFunc(got, func(a, b Record) int { return int(b.Seq) - int(a.Seq) }) {
		t.Error("not in order")
	}
}

func TestRefusalsAreLimited(t *testing.T) {
	at := newClock().now()
	l := openLog(t, t.TempDir(), Options{Now: func() time.Time { return at }})
	for range 1000 {
		l.Refuse(Record{Action: "GET /zones", Reason: "missing_token"})
	}
	l.Refuse(Record{User: "eve", Action: "GET /zones"}) // strangers do not crowd out users
	at = at.Add(2 * time.Second)
	l.Refuse(Record{Action: "GET /zones"})
	got, _ := all(t, l, Query{Limit: 1000})
	if len(got) != 22 || got[0].Suppressed != 980 || got[1].User != "eve" || l.Stats().Suppressed != 980 {
		t.Errorf("%d records, %+v", len(got), l.Stats())
	}
}

func TestTornAndDamagedLines(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{})
	act(t, l, Change, "ann", Done)
	act(t, l, Change, "bob", Done)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "change-*"))
	data, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	lines[1] = []byte("{\"seq\": nonsense\n")                      // ann's end
	torn := append(bytes.Join(lines, nil), `{"seq":5,"class":`...) // and half a line
	if err := os.WriteFile(names[0], torn, 0o600); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir, Options{})
	act(t, l, Change, "cid", Done)
	got, damaged := all(t, l, Query{Limit: 10})
	if users(got) != "cid:done ann:unknown bob:done" || damaged != 1 {
		t.Errorf("%s, %d damaged", users(got), damaged)
	}
}

// TestFullDisk: what cannot be written does not begin, half a line is not left
// behind, and it goes on when there is room again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{})
	act(t, l, Change, "ann", Done)
	size := l.series[Change].size
	limit := func(n uint64) {
		t.Helper()
		var old syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
		old.Cur = n
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}
	limit(uint64(size) + 10) // a file may not grow further: half a line is written
	_, err := l.Begin(Record{Class: Change, User: "bob", Action: "x"})
	limit(^uint64(0))
	e := federation.AsError(err)
	if err == nil || e.Code != federation.Unavailable || e.Reason != "audit_unavailable" || e.Hint == "" || e.RetryAfter == 0 {
		t.Fatalf("begun on a full disk: %v", err)
	}
	if l.Stats().Failures != 1 {
		t.Errorf("%+v", l.Stats())
	}
	act(t, l, Change, "cid", Done)
	if got, damaged := all(t, l, Query{Limit: 10}); users(got) != "cid:done ann:done" || damaged != 0 {
		t.Errorf("%s, %d damaged", users(got), damaged)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := l.Write(Record{Class: Issue, Action: "x", Outcome: Done}); err == nil {
		t.Error("written without a folder")
	}
}

// TestManyAtOnce: writers share syncs, and every record is there once.
func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{Room: 4 * filesPerClass * maxLine})
	var wait sync.WaitGroup
	errs := make(chan error, 8)
	for i := range 8 {
		wait.Go(func() {
			for j := range 40 {
				r := Record{Class: Change, User: fmt.Sprintf("%d-%d", i, j), Action: strings.Repeat("a", 150)}
				a, err := l.Begin(r)
				if err == nil {
					r.Outcome = Done
					err = a.End(r)
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wait.Wait()
	close(errs)
	for err := range errs {
		t.Fatal(err)
	}
	got, damaged := all(t, l, Query{Limit: 7})
	seen := map[string]bool{}
	for _, r := range got {
		seen[r.User] = true
		if r.Outcome != Done {
			t.Errorf("%+v", r)
		}
	}
	if len(got) != 320 || len(seen) != 320 || damaged != 0 {
		t.Errorf("%d records of %d, %d damaged", len(got), len(seen), damaged)
	}
}

func TestRecordsAreBounded(t *testing.T) {
	l := openLog(t, t.TempDir(), Options{})
	long := strings.Repeat("é", 5000)
	about := map[string]string{}
	for i := range 100 {
		about[fmt.Sprint(i)] = long
	}
	if err := l.Write(Record{Class: Issue, User: long, Action: long, Detail: long, About: about, Outcome: Done}); err != nil {
		t.Fatal(err)
	}
	got, _ := all(t, l, Query{Limit: 1})
	line, err := json.Marshal(got[0])
	if err != nil || len(line) > 16<<10 || !strings.HasSuffix(got[0].User, "é…") {
		t.Errorf("%d bytes, %v", len(line), err)
	}
}

func TestNoLog(t *testing.T) {
	var l *Log
	a, err := l.Begin(Record{})
	if err != nil || a.End(Record{}) != nil || l.Write(Record{}) != nil || l.Close() != nil || l.Stats().Failures != 0 {
		t.Error("no log keeps something")
	}
	l.Refuse(Record{})
	if page, err := l.Read(Query{}); err != nil || len(page.Records) != 0 {
		t.Error(page, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, Options{}); err == nil || errors.Is(err, os.ErrNotExist) || federation.AsError(err).Hint == "" {
		t.Errorf("a file for a folder: %v", err)
	}
}

// TestLinesShareASync: a line that is appended while another one is made durable is
// taken with it, one that nobody waits for holds up nobody for good, and what did not
// come true is said.
func TestLinesShareASync(t *testing.T) {
	l := openLog(t, t.TempDir(), Options{})
	line := func(jti string) *Line {
		n, err := l.Append(Record{Class: Issue, Outcome: Done, About: map[string]string{"jti": jti}})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	first, second := line("1"), line("2")
	if err := first.Durable(); err != nil {
		t.Fatal(err)
	}
	if got, want := l.series[Issue].synced, second.record.Seq; got < want {
		t.Errorf("durable up to %d, the second line is %d", got, want)
	}
	third := line("3")
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := second.Durable(); err != nil {
			t.Error(err)
		}
	})
	wait.Go(func() {
		if err := third.Correct(Record{Outcome: Failed, Reason: "internal"}); err != nil {
			t.Error(err)
		}
	})
	wait.Wait()
	if s := l.series[Issue]; s.expected != 0 || s.settled != nil {
		t.Errorf("still waits for %d lines", s.expected)
	}
	records, _ := all(t, l, Query{Class: Issue})
	if r := records[0]; len(records) != 4 || r.Outcome != Failed || r.Began != third.record.Seq {
		t.Errorf("records %+v", records)
	}
}
