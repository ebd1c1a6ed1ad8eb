package keysync

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// modelDisk fails, once or until it is mended, in what it is told to, and hangs.
type modelDisk struct {
	mu    sync.Mutex
	fails map[string]bool // what fails; "" is everything
	once  bool
	hang  chan struct{}
}

// diskWork names all that a Store does to its disk, as fault has it.
var diskWork = []string{"write", "contact", "refused", "rewrite", "committed", ""}

func (d *modelDisk) fault(what string) error {
	d.mu.Lock()
	hang := d.hang
	d.mu.Unlock()
	if hang != nil {
		<-hang
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.fails[what] && !d.fails[""] {
		return nil
	}
	if d.once {
		d.fails = nil
	}
	return errors.New("input/output error")
}

// taking is a set that was taken, with what the model knew then.
type taking struct {
	set, lost uint64
	z         *modelZone
	turn      int
	full      bool
}

// diskModel is a zone whose disk comes and goes, beside a model whose disk never fails.
type diskModel struct {
	t    testing.TB
	r    *rapid.T
	opts Options
	dir  string
	n    int // files so far

	disk    modelDisk
	s       *Store
	z       *modelZone
	g       *modelGlobal
	began   uint64         // where the history of g began
	merges  bool           // merging sets are sent until one is durable
	pasts   map[string]int // position of g → the turn in which it was made
	backup  modelGlobal
	takings []taking

	// given are the sets that were given up since the zone was whole, and turns counts how
	// often the global began a history or lost its end.
	given  []taking
	turns  int
	merged bool // since then there was a merging set

	linked bool                // there is a connection
	sent   federation.Revision // how far it was sent
	lost   uint64              // Lost when it began
	away   bool                // the file is not at its path
	hung   chan error          // of the write that hangs; nil: none does
}

func (m *diskModel) path() string {
	m.n++
	return filepath.Join(m.dir, fmt.Sprintf("%d.db", m.n))
}

func (m *diskModel) open(path string) {
	s, err := Open(path, m.opts)
	if err != nil {
		m.r.Fatal(err)
	}
	s.file.db.NoSync = true // a power cut is no part of the model
	s.fault = m.disk.fault
	m.s = s
}

func (m *diskModel) position(at federation.Revision) []byte {
	return fmt.Appendf(nil, "%s past %d", at, m.pasts[at.String()])
}

// had reports whether a position is in the past of the global as it is.
func (m *diskModel) had(at federation.Revision, position []byte) bool {
	return at.History == m.g.history && at.Index <= m.g.head() && string(position) == string(m.position(at))
}

func (m *diskModel) change() {
	for range rapid.IntRange(1, 3).Draw(m.r, "changes") {
		c := modelChange(m.r, m.t, m.g.head()+1)
		if c.Revoked != nil {
			c.Revoked.IDs[0].Expires = 0 // what expires may be forgotten: not here
		}
		m.g.log = append(m.g.log, c)
		m.pasts[rev(m.g.history, m.g.head()).String()] = m.turns
	}
}

// next is the set that a global sends next.
func (m *diskModel) next() cptoken.Part {
	at := m.sent
	if !m.linked {
		_, at = m.s.Position()
		now, _ := m.s.Persisted()
		m.linked, m.lost, m.sent = true, now.Lost, at
	}
	// The model's position stands for what the global can tell of all zones.
	_, durable := m.s.Position()
	delta := !m.merges && at.History == m.g.history && at.Index <= m.g.head() && m.had(durable, m.s.Proof()) && m.had(m.z.at, []byte(m.z.position))
	if delta && rapid.IntRange(0, 9).Draw(m.r, "merge anyway") > 0 {
		from := at.Index
		if _, taken := m.s.Taken(); taken.History == m.g.history {
			from = max(from, taken.Index)
		}
		p := m.g.delta(at.Index, rapid.Uint64Range(min(from, m.g.head()), m.g.head()).Draw(m.r, "to"))
		p.Position = m.position(p.To)
		return p
	}
	p := m.g.full()
	p.Began, p.Position = m.began, m.position(p.To)
	p.Merging = m.z.at.History == m.g.history
	return p
}

func (m *diskModel) send() {
	if m.g.head() == 0 || m.away && m.hung == nil && rapid.Bool().Draw(m.r, "later") {
		return
	}
	p := m.next()
	if !p.Full && p.From == p.To {
		return
	}
	m.r.Logf("send %s to %s, full %t, merging %t, began %d: %s", p.From, p.To, p.Full, p.Merging, p.Began, told(p.Changes))
	parts := split(p, rapid.IntRange(1, 8).Draw(m.r, "part size"))
	if rapid.IntRange(0, 9).Draw(m.r, "cut") == 0 {
		parts = parts[:len(parts)-1]
	}
	for _, part := range parts {
		if err := m.s.Take(m.t.Context(), part); err != nil {
			m.r.Fatalf("part %d from %s to %s, full %t, merging %t: %v", part.Number, p.From, p.To, p.Full, p.Merging, err)
		}
		if part.Last {
			m.z.take(p)
			now, _ := m.s.Persisted()
			m.takings = append(m.takings, taking{now.Taken, now.Lost, m.z.clone(), m.turns, p.Full})
			m.merged, m.merges = m.merged || p.Merging, m.merges || p.Merging
			m.sent = p.To
			return
		}
	}
	m.linked = false // cut off in the middle
}

func (m *diskModel) flush() {
	if m.hung != nil {
		return
	}
	_ = m.s.flush()
}

func (m *diskModel) hangs() {
	if m.hung != nil || !m.s.due() {
		return
	}
	m.disk.mu.Lock()
	m.disk.hang = make(chan struct{})
	m.disk.mu.Unlock()
	m.hung = make(chan error, 1)
	s, done := m.s, m.hung
	go func() { done <- s.flush() }()
}

func (m *diskModel) release() {
	if m.hung == nil {
		return
	}
	m.disk.mu.Lock()
	close(m.disk.hang)
	m.disk.hang = nil
	m.disk.mu.Unlock()
	<-m.hung
	m.hung = nil
}

func (m *diskModel) fail(once bool) {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	m.disk.fails, m.disk.once = map[string]bool{rapid.SampledFrom(diskWork).Draw(m.r, "what"): true}, once
}

func (m *diskModel) mend() {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	m.disk.fails = nil
}

const awaySuffix = ".away"

func (m *diskModel) moveAway() {
	if m.away || m.hung != nil {
		return
	}
	if err := os.Rename(m.s.path, m.s.path+awaySuffix); err != nil {
		m.r.Fatal(err)
	}
	m.away = true
}

func (m *diskModel) putBack() {
	if !m.away || m.hung != nil {
		return
	}
	if err := os.Rename(m.s.path+awaySuffix, m.s.path); err != nil {
		m.r.Fatal(err)
	}
	m.away = false
}

// restart begins the zone again with what is on its disk; the model knows no more.
func (m *diskModel) restart() {
	m.release()
	m.mend()
	m.putBack()
	data, err := os.ReadFile(m.s.path)
	if err != nil {
		m.r.Fatal(err)
	}
	_ = m.s.Close()
	_ = os.Remove(m.s.path)
	path := m.path()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		m.r.Fatal(err)
	}
	m.open(path)
	m.z, m.takings, m.given, m.linked = m.onDisk(m.s), nil, nil, false
}

// onDisk is the model of what a Store has just read.
func (m *diskModel) onDisk(s *Store) *modelZone {
	z := newModelZone()
	z.at, z.position, z.watermark = s.state.head.revision, string(s.state.head.position), 0
	for id, k := range s.state.keys {
		z.keys["key "+id.KID] = k
	}
	for id, c := range s.state.cutOffs {
		z.cutOffs["cut-off "+id.KID] = c
	}
	for id, carried := range s.state.tombs {
		name := fmt.Sprintf("%s %x", id.key.KID, id.fingerprint)
		if id == (tombID{key: id.key}) {
			name = id.key.KID + " unknown"
		}
		z.tombs[name] = carried
	}
	err := s.file.db.View(func(tx *bbolt.Tx) error {
		l, err := readLedger(tx, s.hash, s.state.head.entries)
		if err != nil {
			return err
		}
		return l.each(tx, func(e entry, _ digest) { z.revoked["id "+string(e.id)] = modelRevocation{e.expires, e.carried} })
	})
	if err != nil {
		m.r.Fatal(err)
	}
	return z
}

func (z *modelZone) clone() *modelZone {
	c := *z
	c.revoked, c.keys, c.tombs, c.cutOffs = maps.Clone(z.revoked), maps.Clone(z.keys), maps.Clone(z.tombs), maps.Clone(z.cutOffs)
	return &c
}

// refuses reports the first thing that z refuses and a View does not.
func (z *modelZone) refuses(v *View) error {
	for i := range modelIDs {
		for _, id := range []string{uuidOf(i), "id-" + uuidOf(i)[:4]} {
			if _, revoked := z.revoked["id "+id]; revoked && !v.Revoked(cptoken.Zone, "", id) {
				return fmt.Errorf("%s is revoked", id)
			}
		}
	}
	for i := range modelKIDs {
		kid := cptoken.SerialKID(uint64(i + 1))
		k, mine := v.Key(zoneKey(kid)), z.keys["key "+kid]
		if k != nil && (mine == nil || mine.Fingerprint() != k.Fingerprint()) {
			return fmt.Errorf("key %s is not to be trusted", kid)
		}
		if before := z.cutOffs["cut-off "+kid].before; before > 0 && (v.CutOff(cptoken.Zone, "", kid).IsZero() || v.CutOff(cptoken.Zone, "", kid).Unix() < before) {
			return fmt.Errorf("tokens of key %s are cut off before %d", kid, before)
		}
	}
	return nil
}

// told is what changes say, for who reads how the model failed.
func told(changes []cptoken.Change) (out []string) {
	for _, c := range changes {
		verb := "revoke"
		switch {
		case c.Withdrawn != nil, c.CutOffWithdrawn != nil:
			verb = "withdraw"
		case c.Key != nil:
			verb = "make"
		case c.RemovedKey != nil:
			verb = "remove"
		case c.CutOff != nil:
			verb = "set"
		}
		out = append(out, fmt.Sprint(c.Index, " ", verb, " ", nameOf(c)))
	}
	return out
}

// check holds what must be at every moment.
func (m *diskModel) check() {
	now, _ := m.s.Persisted()
	m.r.Logf("at %s, the model at %s, taken %d, durable %d, lost %d, %v", m.s.View().Revision(), m.z.at, now.Taken, now.Durable, now.Lost, now.Err)
	if now.Lost != m.lost {
		m.linked = false // as its connection does
		m.lost = now.Lost
		m.given = append(m.given, m.takings...)
		if m.s.View().Empty() {
			m.z, m.takings = newModelZone(), nil // which trusts nothing, and begins anew
		}
	}
	if err := m.z.refuses(m.s.View()); err != nil && !m.s.View().Empty() {
		m.r.Fatalf("%v, and is accepted; the model at %s, the zone at %s", err, m.z.at, m.s.View().Revision())
	}
	var acknowledged []taking
	m.takings = slices.DeleteFunc(m.takings, func(t taking) bool {
		if t.lost == now.Lost && t.set <= now.Durable {
			acknowledged = append(acknowledged, t)
			m.merges = m.merges && !(t.full && t.turn == m.turns)
		}
		return t.lost != now.Lost || t.set <= now.Durable
	})
	if len(acknowledged) == 0 {
		return
	}
	// What is acknowledged must be there for another process.
	last := acknowledged[len(acknowledged)-1]
	data, err := os.ReadFile(m.s.path)
	if err != nil {
		m.r.Fatalf("a set to %s is acknowledged: %v", last.z.at, err)
	}
	path := m.path()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		m.r.Fatal(err)
	}
	defer os.Remove(path)
	d, err := Open(path, m.opts)
	if err != nil {
		m.r.Fatal(err)
	}
	defer d.Close()
	if at := d.View().Revision(); at.Covers(last.z.at) {
		if err := last.z.refuses(d.View()); err != nil {
			m.r.Fatalf("a set to %s is acknowledged, and on the disk, at %s, %v not", last.z.at, at, err)
		}
	} else if m.s.owed.IsZero() {
		m.r.Fatalf("a set to %s is acknowledged, the disk has %s", last.z.at, at)
	}
	if now.Err == nil && now.Durable == now.Taken {
		if err := onlyWhatIs(m.s.View(), d.View()); err != nil {
			m.r.Fatal(err)
		}
	}
}

// onlyWhatIs reports the first thing that a View trusts and its disk does not.
func onlyWhatIs(v, disk *View) error {
	for _, k := range v.Keys() {
		if d := disk.Key(k.ID); d == nil || d.Fingerprint() != k.Fingerprint() {
			return fmt.Errorf("key %s is trusted, and not durable", k.ID)
		}
	}
	for i := range modelIDs {
		for _, id := range []string{uuidOf(i), "id-" + uuidOf(i)[:4]} {
			if disk.Revoked(cptoken.Zone, "", id) && !v.Revoked(cptoken.Zone, "", id) {
				return fmt.Errorf("%s is accepted, and revoked on the disk", id)
			}
		}
	}
	return nil
}

// whole mends everything and has the zone catch up: it is then as the model.
func (m *diskModel) whole() {
	m.release()
	m.mend()
	m.putBack()
	m.flush()
	m.check()
	if m.g.head() == 0 {
		m.change()
	}
	for range 100 {
		_, taken := m.s.Taken()
		now, _ := m.s.Persisted()
		if !m.merges && taken == rev(m.g.history, m.g.head()) && now.Durable == now.Taken && m.had(taken, m.s.Proof()) {
			break
		}
		m.send()
		m.flush()
		m.check()
	}
	if err := m.s.Unwritten(); err != nil {
		m.r.Fatal(err)
	}
	// What a set undid that was given up stays refused where nothing undoes it again. That
	// the zone refuses enough, check has seen.
	if len(m.given) > 0 && (m.merged || m.given[0].turn != m.turns) {
		m.z = m.onDisk(m.s)
	}
	m.given, m.merged = nil, false
	compareWithModel(m.r, m.s, m.z)
}

// TestDisksAgainstModel drives a zone and the disk beneath it through what may come
// together: sets one after the other, whole, in parts and cut off, merging sets, new
// histories, a global that loses its end, a disk that fails before or after it wrote, for
// once or for long, or hangs, a file that is moved away, restarts. At every moment the
// zone refuses what a zone refuses whose disk never fails; what it acknowledges is there
// for the next process; and once all is well it is as that zone.
func TestDisksAgainstModel(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		m := &diskModel{
			t: t, r: r, dir: dir, n: n, z: newModelZone(), g: &modelGlobal{history: history1}, pasts: map[string]int{},
			opts: Options{Zone: "west", Logger: slog.New(slog.DiscardHandler), LockTimeout: 1},
		}
		m.open(m.path())
		m.backup = *m.g
		defer func() {
			m.release()
			_ = m.s.Close()
			_, _ = os.Remove(m.s.path), os.Remove(m.s.path+awaySuffix)
			n = m.n
		}()
		r.Repeat(map[string]func(*rapid.T){
			"":           func(*rapid.T) { m.check() },
			"change":     func(*rapid.T) { m.change() },
			"news":       func(*rapid.T) { m.change(); m.send() },
			"send":       func(*rapid.T) { m.send() },
			"send again": func(*rapid.T) { m.send() },
			"flush":      func(*rapid.T) { m.flush() },
			"write":      func(*rapid.T) { m.send(); m.flush() },
			"hang":       func(*rapid.T) { m.hangs() },
			"release":    func(*rapid.T) { m.release() },
			"fail":       func(*rapid.T) { m.fail(false) },
			"fail once":  func(*rapid.T) { m.fail(true) },
			"mend":       func(*rapid.T) { m.mend(); m.flush() },
			"move away":  func(*rapid.T) { m.moveAway() },
			"put back":   func(*rapid.T) { m.putBack() },
			"reconnect":  func(*rapid.T) { m.linked = false },
			"restart":    func(*rapid.T) { m.restart() },
			"whole":      func(*rapid.T) { m.whole() },
			"backup":     func(*rapid.T) { m.backup = modelGlobal{m.g.history, slices.Clone(m.g.log), 0} },
			"restore":    func(*rapid.T) { m.restore() },
			"lose":       func(*rapid.T) { m.lose() },
		})
		m.whole()
	})
}

func (m *diskModel) restore() {
	created := m.g.history.Created + 1
	m.g = &modelGlobal{federation.History{ID: fmt.Sprintf("%016x", created), Created: created}, slices.Clone(m.backup.log), 0}
	m.began, m.linked = m.g.head(), false
	m.turns++
}

// lose takes the end of its log from the global, in the same history: its zones are sent
// merging sets.
func (m *diskModel) lose() {
	if n := rapid.IntRange(0, 3).Draw(m.r, "lost"); uint64(n) < m.g.head() {
		m.g.log = slices.Clone(m.g.log[:len(m.g.log)-n])
		m.turns++
		m.merges = true
		m.linked = false
	}
}
