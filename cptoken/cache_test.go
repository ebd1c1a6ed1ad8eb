package cptoken

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"
)

// len counts the entries.
func (c *cache) len() (n int) {
	for i := range c.shards {
		c.shards[i].mu.RLock()
		n += len(c.shards[i].young) + len(c.shards[i].old)
		c.shards[i].mu.RUnlock()
	}
	return n
}

// TestCacheHitsAskTheView: nothing that the view or the clock decides is
// remembered.
func TestCacheHitsAskTheView(t *testing.T) {
	keys := testKeys()
	raw := sign(t, keys[0], header1, west)
	id := KeyID{Kind: Zone, KID: "1"}
	jti := "d602fcb4-c4e4-44d6-8fad-1c40fb97c3ca"
	view := zoneView(t)
	now := testNow
	v := NewVerifier(VerifierOptions{Now: func() time.Time { return now }})
	ok := func() {
		t.Helper()
		if _, err := v.Verify(view, Zone, raw); err != nil {
			t.Fatal(err)
		}
	}
	ok()
	if v.cache.len() != 1 {
		t.Fatal("the token is not remembered")
	}

	view.revoke(Zone, "", jti)
	_, err := v.Verify(view, Zone, raw)
	refused(t, err, Revoked)
	clear(view.revoked)
	ok()

	key := view.keys[id]
	view.keys[id] = key.WithState(Retiring)
	ok()
	view.keys[id] = key.WithState(Removed)
	_, err = v.Verify(view, Zone, raw)
	refused(t, err, UnknownKey)
	delete(view.keys, id)
	_, err = v.Verify(view, Zone, raw)
	refused(t, err, UnknownKey)

	// Another key under the same name, as after another cluster's restore.
	view.keys[id] = publicKey(t, id, keys[1], nil)
	_, err = v.Verify(view, Zone, raw)
	refused(t, err, BadSignature)

	// The same key, now with bounds.
	view.keys[id] = publicKey(t, id, keys[0], &Constraints{Zones: []string{"east"}})
	_, err = v.Verify(view, Zone, raw)
	refused(t, err, NotAllowed)
	view.keys[id] = key
	ok()

	now = now.AddDate(10, 0, 0)
	_, err = v.Verify(view, Zone, raw)
	refused(t, err, Expired)
	now = now.AddDate(-20, 0, 0)
	_, err = v.Verify(view, Zone, raw)
	refused(t, err, NotYetValid)
}

func TestCacheAllocations(t *testing.T) {
	view, v := zoneView(t), newVerifier()
	raw := sign(t, testKeys()[0], header1, west)
	n := testing.AllocsPerRun(100, func() {
		if _, err := v.Verify(view, Zone, raw); err != nil {
			t.Error(err)
		}
	})
	if n > 2 {
		t.Errorf("%v allocations for a token that is remembered, at most 2 are wanted", n)
	}
}

func TestCacheIsBounded(t *testing.T) {
	const bytes, entries = 1 << 20, 20000
	c := newCache(bytes)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range entries {
		payload := fmt.Sprintf("%0400d", i) // as the claims keep it
		c.put(sha256.Sum256([]byte(payload)), &verified{claims: Claims{Zone: payload[:5]}, payload: len(payload)})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	n := c.len()
	if n == 0 || n == entries {
		t.Errorf("%d of %d entries are left", n, entries)
	}
	// The estimate is one from above; half as much again is room for the heap's
	// size classes and what else runs.
	if used := int(after.HeapAlloc) - int(before.HeapAlloc); used > bytes*3/2 {
		t.Errorf("%d bytes are in use for %d entries, the bound is %d", used, n, bytes)
	}
	runtime.KeepAlive(c)
}

func TestCacheKeepsWhatIsUsed(t *testing.T) {
	c := newCache(64 << 10)
	used := sha256.Sum256([]byte("used"))
	c.put(used, &verified{id: "used"})
	for i := range 10000 {
		c.put(sha256.Sum256([]byte{byte(i), byte(i >> 8)}), &verified{})
		if v := c.get(used); v == nil || v.id != "used" {
			t.Fatalf("lost after %d others", i)
		}
	}
	if c.get(sha256.Sum256([]byte{0, 0})) != nil {
		t.Error("what was never used again is still there")
	}
}

func TestCacheTooSmall(t *testing.T) {
	for _, bytes := range []int{-1, 1, 100, 5000} {
		view, v := zoneView(t), NewVerifier(VerifierOptions{CacheBytes: bytes, Now: newVerifier().now})
		raw := sign(t, testKeys()[0], header1, west)
		for range 3 {
			if _, err := v.Verify(view, Zone, raw); err != nil {
				t.Errorf("%d bytes: %v", bytes, err)
			}
		}
	}
}

func TestCacheConcurrent(t *testing.T) {
	view, v := zoneView(t), NewVerifier(VerifierOptions{CacheBytes: 16 << 10, Now: newVerifier().now})
	tokens := make([]string, 40)
	for i := range tokens {
		tokens[i] = sign(t, testKeys()[0], header1, `{"Zone":"west","Scope":["egress"],`+times+`,"jti":"`+rand.Text()+`"}`)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				c, err := v.Verify(view, Zone, tokens[(i*7+g)%len(tokens)])
				if err != nil || c.Zone != "west" {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
