package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/meridiankds/meridian/internal/disk"
)

// sample is a bbolt file with a large bucket, a small one that lies within its
// element, values of several pages, and free pages.
func sample(t *testing.T, options bbolt.Options) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sample.db")
	options.NoSync, options.PageSize = true, 1<<10
	db, err := bbolt.Open(path, 0o600, &options)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		err := db.Update(func(tx *bbolt.Tx) error {
			large, err := tx.CreateBucketIfNotExists([]byte("large"))
			if err != nil {
				return err
			}
			small, err := tx.CreateBucketIfNotExists([]byte("small"))
			if err != nil {
				return err
			}
			for i := range 30 {
				key := binary.BigEndian.AppendUint64(nil, uint64(100*round+i))
				if err := large.Put(key, bytes.Repeat([]byte{byte(i)}, 40)); err != nil {
					return err
				}
			}
			for i := range 10 * round {
				if err := large.Delete(binary.BigEndian.AppendUint64(nil, uint64(i))); err != nil {
					return err
				}
			}
			return errors.Join(small.Put([]byte("a"), []byte("1")), large.Put([]byte("wide"), bytes.Repeat([]byte("w"), 3000)))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// dump is every entry of a file, in order.
func dump(data []byte) (string, disk.BoltInfo, error) {
	var b strings.Builder
	info, err := disk.WalkBolt(bytes.NewReader(data), int64(len(data)), func(bucket, key, value []byte) error {
		fmt.Fprintf(&b, "%s %x %x\n", bucket, key, value)
		return nil
	})
	return b.String(), info, err
}

// A walk finds what bbolt finds, and no flipped bit changes it unnoticed.
func TestWalkBoltFindsEveryChange(t *testing.T) {
	for name, options := range map[string]bbolt.Options{
		"with a freelist": {}, "without a freelist": {NoFreelistSync: true},
	} {
		t.Run(name, func(t *testing.T) {
			data := sample(t, options)
			whole, info, err := dump(data)
			if err != nil {
				t.Fatal(err)
			}
			if info.Freelist == options.NoFreelistSync || info.Transactions != 3 {
				t.Errorf("the walk tells %+v", info)
			}
			entries := strings.Count(whole, "\n")
			if entries != 3*30+2-20 {
				t.Errorf("the walk found %d entries", entries)
			}
			if !strings.Contains(whole, "small 61 31\n") || !strings.Contains(whole, strings.Repeat("77", 3000)) {
				t.Error("the small bucket or the wide value was not found")
			}
			refused := 0
			for at := 0; at < len(data); at += 3 { // each bit of a byte in turn, as 3 and 8 share no divisor
				spoilt := bytes.Clone(data)
				spoilt[at] ^= 1 << (at % 8)
				got, err := count(spoilt)
				var damage *disk.DamageError
				switch {
				case errors.As(err, &damage):
					refused++
				case err != nil:
					t.Fatalf("byte %d: %v", at, err)
				case got != entries:
					t.Fatalf("a flipped bit in byte %d changes how many entries there are, and the walk does not notice", at)
				}
			}
			if refused < 200 {
				t.Errorf("%d of %d flipped bits were refused", refused, len(data))
			}
		})
	}
}

// count is how many entries a file has. What they say, and how far the last one of a
// page reaches into its padding, is for the caller's own checksums to protect.
func count(data []byte) (entries int, err error) {
	_, err = disk.WalkBolt(bytes.NewReader(data), int64(len(data)), func(_, _, _ []byte) error {
		entries++
		return nil
	})
	return entries, err
}

func TestWalkBoltRefuses(t *testing.T) {
	data := sample(t, bbolt.Options{})
	ne := binary.NativeEndian
	const page, header = 1 << 10, 16
	newest := 0
	if ne.Uint64(data[page+header+48:]) > ne.Uint64(data[header+48:]) {
		newest = page
	}
	freelist := int(ne.Uint64(data[newest+header+32:])) * page
	root := int(ne.Uint64(data[newest+header+16:])) * page
	// A branch page in use, and the page that its first element leads to.
	branch := 2 * page
	for ; branch < len(data); branch += page {
		if first := int(ne.Uint64(data[branch+header+8:])); ne.Uint16(data[branch+8:]) == 1 && first*page < len(data) {
			spoilt := bytes.Clone(data)
			spoilt[branch+header]++
			if _, _, err := dump(spoilt); err != nil {
				break
			}
		}
	}
	if branch >= len(data) {
		t.Fatal("the sample has no branch page")
	}
	child := int(ne.Uint64(data[branch+header+8:])) * page
	firstKey := branch + header + int(ne.Uint32(data[branch+header:]))
	for name, tc := range map[string]struct {
		spoil func(b []byte) []byte
		want  string
	}{
		"another file":                  {func(b []byte) []byte { return bytes.Repeat([]byte("text"), 5000) }, "meta page"},
		"an empty file":                 {func(b []byte) []byte { return nil }, "ends after 0 bytes"},
		"half of it":                    {func(b []byte) []byte { return b[:len(b)/2] }, "cut off"},
		"the newest meta page":          {func(b []byte) []byte { b[newest+header+20]++; return b }, "checksum"},
		"a meta page twice":             {func(b []byte) []byte { copy(b[:page], b[page:2*page]); return b }, "transactions"},
		"a forgotten free page":         {func(b []byte) []byte { ne.PutUint16(b[freelist+10:], ne.Uint16(b[freelist+10:])-1); return b }, "neither in use nor free"},
		"a hidden bucket":               {func(b []byte) []byte { ne.PutUint16(b[root+10:], 1); return b }, "does not lie where it should"},
		"a page under another's number": {func(b []byte) []byte { b[child]++; return b }, "says that it is page"},
		"a key that the parent lacks":   {func(b []byte) []byte { b[firstKey+7]--; return b }, "begin with the key"},
		"an element that is moved":      {func(b []byte) []byte { b[child+header+4*16-12]++; return b }, "does not lie where it should"},
		"a key twice": {func(b []byte) []byte {
			key := func(elem int) int { return elem + int(ne.Uint32(b[elem+4:])) }
			copy(b[key(child+header+16):][:8], b[key(child+header):])
			return b
		}, "out of order"},
		"an empty branch": {func(b []byte) []byte {
			ne.PutUint16(b[root+8:], 1)
			ne.PutUint16(b[root+10:], 0)
			return b
		}, "page is empty"},
	} {
		_, _, err := dump(tc.spoil(bytes.Clone(data)))
		var damage *disk.DamageError
		if !errors.As(err, &damage) || !strings.Contains(damage.Detail, tc.want) {
			t.Errorf("%s: %v, want damage that tells %q", name, err, tc.want)
		}
	}
	stop := errors.New("stop")
	if _, err := disk.WalkBolt(bytes.NewReader(data), int64(len(data)), func(_, _, _ []byte) error { return stop }); err != stop {
		t.Errorf("an error of the caller's comes back as %v", err)
	}
}
