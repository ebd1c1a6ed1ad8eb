package keysync

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// contentOf lists what a view answers, for the ids that tests use.
func contentOf(v *View) string {
	var b strings.Builder
	fmt.Fprintln(&b, v.Cluster(), v.Revision(), v.Revocations(), v.CutOff(cptoken.Zone, "", "1").Unix())
	for _, k := range v.Keys() {
		fmt.Fprintf(&b, "%s %s %x\n", k.ID, k.State, k.Fingerprint())
	}
	for i := range 3000 {
		if v.Revoked(cptoken.Zone, "", uuidOf(i)) {
			fmt.Fprint(&b, i, " ")
		}
	}
	return b.String()
}

// damagedSample makes a file with something of everything, trees of several
// levels and free pages among it, and returns its bytes and content.
func damagedSample(t *testing.T) (data []byte, content string) {
	t.Helper()
	s := openNew(t)
	var ids [2000]string
	for i := range ids {
		ids[i] = uuidOf(i)
	}
	mustApply(t, s,
		full(history1, 10, revoked(1, ids[:1000]...), keyed(2, testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active)), cutOffAt(3, 77)),
		delta(history1, 10, 20, removed(11, zoneKey("1")), keyed(12, testKey(t, cptoken.Zone, "", "2", 1, cptoken.Active)), revoked(13, ids[1000:1200]...)))
	for i := range 60 {
		mustApply(t, s, delta(history1, uint64(20+i), uint64(21+i), revoked(uint64(21+i), ids[1200+i]), withdrawn(uint64(21+i), ids[i])))
	}
	mustApply(t, s, full(history2, 100, keyed(2, testKey(t, cptoken.Zone, "", "1", 2, cptoken.Active)), revoked(99, ids[1500:1700]...)))
	mustApply(t, s, split(delta(history2, 100, 101, revoked(101, ids[1900]), revoked(101, ids[1901])), 1)[:1]...) // a stage that is left over
	content = contentOf(s.View())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	return data, content
}

// loadContent loads bytes as a file. ok is false for a damaged one.
func loadContent(t *testing.T, data []byte) (content string, ok bool) {
	t.Helper()
	k := hashKey{1, 2}
	st, fresh, err := load(bytes.NewReader(data), int64(len(data)), k)
	var bad *damage
	switch {
	case errors.As(err, &bad):
		return "", false
	case federation.AsError(err) != nil && federation.AsError(err).Reason == ReasonNewerFormat:
		t.Fatal("damage was taken for a newer format")
	case err != nil:
		t.Fatalf("damage that is not reported as such: %v", err)
	case fresh:
		t.Fatal("a damaged file was taken for a new one")
	}
	return contentOf(st.view(k)), true
}

// flips is how many bits TestBitFlips flips, one after the other: half of them in the
// heads of both meta pages, which 4,096 cover, the others anywhere. Under the race
// detector each takes ten times as long, and nothing here is concurrent.
var flips = flag.Int("flips", map[bool]int{false: 4096, true: 600}[raceDetector], "how many bits TestBitFlips flips")

// Every flipped bit leaves the content as it was, or is found.
func TestBitFlips(t *testing.T) {
	data, want := damagedSample(t)
	if got, ok := loadContent(t, data); !ok || got != want {
		t.Fatalf("the sample itself: %v\n%s\nwant\n%s", ok, got, want)
	}
	random := rand.New(rand.NewPCG(7, 7))
	many := *flips
	if testing.Short() {
		many = min(many, 500)
	}
	const head = 128 * 8 // of a meta page, which has one copy
	inHeads := min(many/2, 2*head)
	var survivors []int
	for i := range many {
		bit := random.IntN(len(data) * 8)
		if i < inHeads {
			if bit = i * 2 * head / inHeads; bit >= head {
				bit += os.Getpagesize()*8 - head
			}
		}
		data[bit/8] ^= 1 << (bit % 8)
		got, ok := loadContent(t, data)
		if ok && got != want {
			t.Fatalf("bit %d: wrong content was accepted:\n%s\nwant\n%s", bit, got, want)
		}
		if ok {
			survivors = append(survivors, bit)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
	// A file that was accepted must also bear what is written to it next.
	random.Shuffle(len(survivors), func(i, j int) { survivors[i], survivors[j] = survivors[j], survivors[i] })
	for _, bit := range survivors[:min(len(survivors), 60)] {
		data[bit/8] ^= 1 << (bit % 8)
		s := openAt(t, writeTemp(t, data))
		before := s.View().Revocations()
		for i := range 5 {
			mustApply(t, s, delta(history2, uint64(100+i), uint64(101+i), revoked(uint64(101+i), uuidOf(2995+i))))
		}
		s = reopened(t, s)
		if n := s.View().Revocations(); n != before+5 {
			t.Errorf("bit %d: %d revocations after writing, want %d", bit, n, before+5)
		}
		s.Close()
		data[bit/8] ^= 1 << (bit % 8)
	}
}

func writeTemp(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "zone.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Larger damage, each through Open: the file is set aside, the zone knows nothing
// and takes full state again.
func TestDamagedFileIsSetAside(t *testing.T) {
	data, _ := damagedSample(t)
	page := os.Getpagesize()
	edit := func(fn func(b []byte)) []byte {
		b := bytes.Clone(data)
		fn(b)
		return b
	}
	newest := 0 // the meta page that holds
	if binary.NativeEndian.Uint64(data[page+64:]) > binary.NativeEndian.Uint64(data[64:]) {
		newest = page
	}
	// The freelist: a page that is missing from it would never be used again; one
	// that is in it and in use would be overwritten by a later change.
	const pageHeader = 16
	ne := binary.NativeEndian
	freelist := int(ne.Uint64(data[newest+pageHeader+32:])) * page
	root, free := ne.Uint64(data[newest+pageHeader+16:]), ne.Uint16(data[freelist+10:])
	if free == 0 || free == 0xffff {
		t.Fatalf("the sample has %d free pages", free)
	}
	tests := map[string][]byte{
		"a free page is forgotten": edit(func(b []byte) { ne.PutUint16(b[freelist+10:], free-1) }),
		"a page in use is free": edit(func(b []byte) {
			ids := b[freelist+pageHeader:]
			at := int(free)
			for ; at > 0 && ne.Uint64(ids[8*(at-1):]) > root; at-- {
				ne.PutUint64(ids[8*at:], ne.Uint64(ids[8*(at-1):]))
			}
			ne.PutUint64(ids[8*at:], root)
			ne.PutUint16(b[freelist+10:], free+1)
		}),
		"not a database":       []byte(strings.Repeat("text ", 5000)),
		"one byte":             {1},
		"half of it":           data[:len(data)/2],
		"three pages":          data[:3*page],
		"zeros":                make([]byte, len(data)),
		"the newest meta page": edit(func(b []byte) { b[newest+40]++ }),
		"a meta page of before": edit(func(b []byte) {
			copy(b[newest:newest+page], b[page-newest:2*page-newest])
		}),
		"the record of the keys": edit(func(b []byte) {
			for i, at := 0, 0; ; i++ { // in every copy of it that old transactions left
				next := bytes.Index(b[at:], testDERs()[2])
				if next < 0 {
					break
				}
				at += next + 20
				b[at] ^= 0x10
			}
		}),
	}
	for name, damaged := range tests {
		t.Run(name, func(t *testing.T) {
			path := writeTemp(t, damaged)
			var log bytes.Buffer
			opts := testOptions(t)
			opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
			opts.Now = func() time.Time { return time.Unix(1700000000, 0) }
			s, err := Open(path, opts)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if !s.View().Empty() {
				t.Error("a damaged file was used")
			}
			aside, err := os.ReadFile(path + ".damaged-1700000000")
			if err != nil || !bytes.Equal(aside, damaged) {
				t.Errorf("the damaged file was not kept: %v", err)
			}
			if !strings.Contains(log.String(), "set aside") || !strings.Contains(log.String(), path+".damaged-1700000000") {
				t.Errorf("the log does not say what happened: %s", log.String())
			}
			mustApply(t, s, full(history1, 3, revoked(1, "a")))
			s = reopened(t, s)
			wantRevoked(t, s, true, "a")
		})
	}
}

func TestDamagedTwiceInASecond(t *testing.T) {
	path := writeTemp(t, []byte("nonsense"))
	opts := testOptions(t)
	opts.Now = func() time.Time { return time.Unix(5, 0) }
	for range 2 {
		s, err := Open(path, opts)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := filepath.Glob(path + ".damaged-*")
	if err != nil || len(found) != 2 {
		t.Errorf("set aside: %q, %v", found, err)
	}
}

// A file of a later release is left for the program that wrote it.
func TestNewerFormatIsLeftAlone(t *testing.T) {
	h := head{instance: "i", zone: "west"}
	b := h.encode()
	binary.BigEndian.PutUint32(b[len(headMagic):], Format+1)
	body := b[:len(b)-32]
	sum := sha256.Sum256(body)
	_, err := decodeHead(append(body, sum[:]...))
	wantReason(t, err, ReasonNewerFormat)
	var bad *damage
	if errors.As(err, &bad) {
		t.Error("a newer format is no damage")
	}
}

// A file that is truncated under a running zone: bbolt reads beyond its end,
// which is a bus error. The zone goes on with what it has.
func TestTruncatedWhileOpen(t *testing.T) {
	for _, pages := range []int{3, 0} { // with 0 no transaction begins
		t.Run(fmt.Sprint(pages, " pages"), func(t *testing.T) { truncatedWhileOpen(t, pages) })
	}
}

func truncatedWhileOpen(t *testing.T, pages int) {
	s := openNew(t)
	set := full(history1, 10)
	for i := range 100 {
		ids := make([]string, 1000)
		for j := range ids {
			ids[j] = uuidOf(1000*i + j)
		}
		set.Changes = append(set.Changes, revoked(5, ids...))
	}
	set.Changes = append(set.Changes, revokedUntil(6, "expires", 50))
	mustApply(t, s, set)
	if err := os.Truncate(s.path, int64(pages*os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	next := delta(history1, 10, 11, revoked(11, "a"))
	next.Watermark = time.Unix(10_000_000, 0) // has the log read
	for range 2 {
		if err := s.Apply(t.Context(), next); federation.CodeOf(err) != federation.Internal {
			t.Fatalf("a change was applied to a file that is not there: %v", err)
		}
		wantRevoked(t, s, true, uuidOf(5), uuidOf(99_999))
		wantRevoked(t, s, true, "a") // what refuses does not wait for the disk
		if _, at := s.Position(); at != rev(history1, 10) {
			t.Errorf("at %s", at)
		}
	}
	s.Heard("node", time.Now().Add(time.Hour))
	if err := s.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if s = openAt(t, s.path); !s.View().Empty() {
		t.Error("a truncated file was used")
	}
}

// failedCommit has a Store believe that its last commit failed.
func failedCommit(s *Store) {
	s.file.failed = true
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fallBehind(errors.New("input/output error"))
}

// After a commit of unknown outcome the file is read again.
func TestReopensAfterAFailedCommit(t *testing.T) {
	s := openNew(t)
	mustApply(t, s, full(history1, 10, revoked(1, "a")))
	before := maps.Clone(s.state.keys)
	failedCommit(s)
	mustApply(t, s, delta(history1, 10, 11, revoked(11, "b")))
	wantRevoked(t, s, true, "a", "b")
	if len(before) != len(s.state.keys) {
		t.Error("keys changed")
	}
	s = reopened(t, s)
	wantRevoked(t, s, true, "a", "b")

	// A file that somebody replaced by an older one is not taken.
	older, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	mustApply(t, s, delta(history1, 11, 12, revoked(12, "c")))
	if err := os.WriteFile(s.path, older, 0o600); err != nil {
		t.Fatal(err)
	}
	failedCommit(s)
	wantReason(t, s.Apply(t.Context(), delta(history1, 12, 13, revoked(13, "d"))), ReasonDamaged)
	wantRevoked(t, s, true, "a", "b", "c")
}
