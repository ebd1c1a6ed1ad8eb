package keysync

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// modelGlobal is a global in its simplest form: a log of changes, from which full
// states and deltas are made.
type modelGlobal struct {
	history   federation.History
	log       []cptoken.Change // index i+1 at i
	watermark int64            // Unix seconds
}

func (g *modelGlobal) head() uint64 { return uint64(len(g.log)) }

// full returns the whole state: what the log comes to, each thing at the index of
// its last change.
func (g *modelGlobal) full() cptoken.Part {
	z := newModelZone()
	last := map[string]cptoken.Change{}
	for _, c := range g.log {
		z.change(c, true)
		last[nameOf(c)] = c
	}
	z.prune(g.watermark)
	var changes []cptoken.Change
	for _, c := range last {
		_, live := z.revoked[nameOf(c)]
		if c.Revoked != nil && !live {
			continue // pruned
		}
		changes = append(changes, c)
	}
	slices.SortFunc(changes, func(a, b cptoken.Change) int { return int(a.Index) - int(b.Index) })
	p := full(g.history, g.head(), changes...)
	p.Watermark = time.Unix(g.watermark, 0)
	return p
}

func (g *modelGlobal) delta(from, to uint64) cptoken.Part {
	p := delta(g.history, from, to, g.log[from:to]...)
	p.Watermark = time.Unix(g.watermark, 0)
	return p
}

// nameOf names the thing that a change is about. Runs of a model have one id.
func nameOf(c cptoken.Change) string {
	switch {
	case c.Revoked != nil:
		return "id " + c.Revoked.IDs[0].ID
	case c.Withdrawn != nil:
		return "id " + c.Withdrawn.IDs[0].ID
	case c.Key != nil:
		return "key " + c.Key.ID.KID
	case c.RemovedKey != nil:
		return "key " + c.RemovedKey.KID
	case c.CutOff != nil:
		return "cut-off " + c.CutOff.KID
	}
	return "cut-off " + c.CutOffWithdrawn.KID
}

type modelRevocation struct {
	expires int64
	carried bool
}

// modelZone is what a zone should know, in maps, and by the shortest rules.
type modelZone struct {
	at        federation.Revision
	position  string
	watermark int64
	revoked   map[string]modelRevocation // by nameOf
	keys      map[string]*cptoken.PublicKey
	tombs     map[string]bool // "kid fingerprint" → carried
	cutOffs   map[string]cutOff
}

func newModelZone() *modelZone {
	return &modelZone{revoked: map[string]modelRevocation{}, keys: map[string]*cptoken.PublicKey{},
		tombs: map[string]bool{}, cutOffs: map[string]cutOff{}}
}

func tombName(k *cptoken.PublicKey) string { return fmt.Sprintf("%s %x", k.ID.KID, k.Fingerprint()) }

func (z *modelZone) change(c cptoken.Change, explicit bool) {
	name := nameOf(c)
	switch {
	case c.Revoked != nil:
		z.revoked[name] = modelRevocation{expires: c.Revoked.IDs[0].Expires}
	case c.Withdrawn != nil:
		if explicit || !z.revoked[name].carried {
			delete(z.revoked, name)
		}
	case c.Key != nil:
		if z.tombs[tombName(c.Key)] || z.tombs[c.Key.ID.KID+" unknown"] {
			return
		}
		delete(z.tombs, tombName(c.Key))
		delete(z.tombs, c.Key.ID.KID+" unknown")
		z.keys[name] = c.Key
	case c.RemovedKey != nil:
		z.remove(name, c.RemovedKey.KID, explicit)
	case c.CutOff != nil:
		if now := z.cutOffs[name]; explicit || !now.carried || now.before <= c.CutOff.Before.Unix() {
			z.cutOffs[name] = cutOff{before: c.CutOff.Before.Unix()}
		}
	default:
		if explicit || !z.cutOffs[name].carried {
			delete(z.cutOffs, name)
		}
	}
}

func (z *modelZone) remove(name, kid string, explicit bool) {
	known := false
	for t, carried := range z.tombs {
		if len(t) > len(kid) && t[:len(kid)+1] == kid+" " {
			known = true
			z.tombs[t] = carried && !explicit
		}
	}
	if k := z.keys[name]; k != nil {
		if _, there := z.tombs[tombName(k)]; !there {
			z.tombs[tombName(k)] = false
		}
	} else if !known {
		z.tombs[kid+" unknown"] = false
	}
	delete(z.keys, name)
}

func (z *modelZone) prune(watermark int64) {
	z.watermark = max(z.watermark, watermark)
	maps.DeleteFunc(z.revoked, func(_ string, r modelRevocation) bool {
		return r.expires != 0 && r.expires+24*60*60 < z.watermark
	})
}

// take applies a set that fits.
func (z *modelZone) take(p cptoken.Part) {
	adopt := p.To.History.Compare(z.at.History) > 0
	switch {
	case p.Merging:
		z.replace(p, true)
	case !adopt && p.To.Index <= z.at.Index:
		z.prune(p.Watermark.Unix())
		return
	case p.Full:
		z.replace(p, adopt)
	default:
		for _, c := range p.Changes {
			if c.Index > z.at.Index {
				z.change(c, true)
			}
		}
	}
	z.at, z.position = p.To, string(p.Position)
	z.prune(p.Watermark.Unix())
}

// replace takes full state: everything that is carried stays beneath it, and is
// undone by explicit changes alone.
func (z *modelZone) replace(p cptoken.Part, adopt bool) {
	for n, r := range z.revoked {
		z.revoked[n] = modelRevocation{r.expires, r.carried || adopt}
	}
	for n, c := range z.cutOffs {
		z.cutOffs[n] = cutOff{c.before, c.carried || adopt}
	}
	for n, carried := range z.tombs {
		z.tombs[n] = carried || adopt
	}
	maps.DeleteFunc(z.revoked, func(_ string, r modelRevocation) bool { return !r.carried })
	maps.DeleteFunc(z.cutOffs, func(_ string, c cutOff) bool { return !c.carried })
	before := z.keys
	z.keys = map[string]*cptoken.PublicKey{}
	for _, c := range p.Changes {
		name := nameOf(c)
		if c.RemovedKey != nil && before[name] != nil && z.keys[name] == nil {
			z.keys[name] = before[name] // so that its fingerprint is remembered
		}
		explicit := c.Index > z.at.Index
		if p.To.History != z.at.History {
			explicit = p.Began != 0 && c.Index > p.Began
		}
		z.change(c, explicit)
	}
	for name, k := range before {
		if _, there := z.tombs[tombName(k)]; !adopt && !there && z.keys[name] == nil {
			z.tombs[tombName(k)] = false
		}
	}
}

const modelIDs, modelKIDs = 12, 3

// modelChange draws one change.
func modelChange(t *rapid.T, tb testing.TB, index uint64) cptoken.Change {
	id := uuidOf(rapid.IntRange(0, modelIDs-1).Draw(t, "id"))
	if rapid.Bool().Draw(t, "text") {
		id = "id-" + id[:4]
	}
	kid := cptoken.SerialKID(rapid.Uint64Range(1, modelKIDs).Draw(t, "kid"))
	cut := cptoken.CutOffID{Kind: cptoken.Zone, KID: kid}
	switch rapid.IntRange(0, 7).Draw(t, "what") {
	case 0, 1, 2:
		day := rapid.Int64Range(0, 30).Draw(t, "expires")
		return revokedUntil(index, id, day*24*60*60)
	case 3:
		return withdrawn(index, id)
	case 4:
		state := rapid.SampledFrom([]cptoken.KeyState{cptoken.Prepared, cptoken.Active, cptoken.Retiring}).Draw(t, "state")
		return keyed(index, testKey(tb, cptoken.Zone, "", kid, rapid.IntRange(0, 2).Draw(t, "key"), state))
	case 5:
		return removed(index, zoneKey(kid))
	case 6:
		return cptoken.Change{Index: index, CutOff: &cptoken.CutOff{CutOffID: cut, Before: time.Unix(rapid.Int64Range(1, 9).Draw(t, "before"), 0)}}
	default:
		return cptoken.Change{Index: index, CutOffWithdrawn: &cut}
	}
}

func compareWithModel(t *rapid.T, s *Store, z *modelZone) {
	v := s.View()
	if v.Revision() != z.at {
		t.Fatalf("at %s, want %s", v.Revision(), z.at)
	}
	for i := range modelIDs {
		for _, id := range []string{uuidOf(i), "id-" + uuidOf(i)[:4]} {
			if _, want := z.revoked["id "+id]; v.Revoked(cptoken.Zone, "", id) != want {
				t.Fatalf("revoked(%s) = %v", id, !want)
			}
		}
	}
	if v.Revocations() != len(z.revoked) || len(v.Keys()) != len(z.keys) || v.CutOffs() != len(z.cutOffs) {
		t.Fatalf("%d revocations, %d keys, %d cut-offs, want %d, %d, %d",
			v.Revocations(), len(v.Keys()), v.CutOffs(), len(z.revoked), len(z.keys), len(z.cutOffs))
	}
	for i := range modelKIDs {
		kid := cptoken.SerialKID(uint64(i + 1))
		got, want := v.Key(zoneKey(kid)), z.keys["key "+kid]
		if (got == nil) != (want == nil) || got != nil && (got.Fingerprint() != want.Fingerprint() || got.State != want.State) {
			t.Fatalf("key %s is %v, want %v", kid, got, want)
		}
		var before int64
		if at := v.CutOff(cptoken.Zone, "", kid); !at.IsZero() {
			before = at.Unix()
		}
		if before != z.cutOffs["cut-off "+kid].before {
			t.Fatalf("cut-off of %s at %d, want %d", kid, before, z.cutOffs["cut-off "+kid].before)
		}
	}
}

// TestAgainstModel drives a zone through what a life may bring: deltas that fit,
// overlap or come late, full states, sets in parts, restarts, a machine that
// dies, backups of the global that are restored, and compares with the model
// after each step.
func TestAgainstModel(t *testing.T) {
	dir := t.TempDir()
	opts := Options{Zone: "west", Logger: slog.New(slog.DiscardHandler), LockTimeout: time.Millisecond}
	files := 0
	rapid.Check(t, func(r *rapid.T) {
		newPath := func() string {
			files++
			return filepath.Join(dir, fmt.Sprintf("%d.db", files))
		}
		open := func(path string) *Store {
			s, err := Open(path, opts)
			if err != nil {
				r.Fatal(err)
			}
			return s
		}
		s, z := open(newPath()), newModelZone()
		defer func() { s.Close(); os.Remove(s.path) }()
		g := &modelGlobal{history: history1}
		backup := *g
		send := func(p cptoken.Part) {
			back := p.To.History == z.at.History && p.To.Index < z.at.Index && !p.Merging
			for _, part := range split(p, rapid.IntRange(1, 8).Draw(r, "part size")) {
				err := s.Apply(t.Context(), part)
				if back && federation.AsError(err).Reason == ReasonAhead {
					return
				}
				if err != nil || back {
					r.Fatalf("part %d to %s, back %t: %v", part.Number, p.To, back, err)
				}
			}
			z.take(p)
		}
		r.Repeat(map[string]func(*rapid.T){
			"": func(r *rapid.T) { compareWithModel(r, s, z) },
			"change": func(r *rapid.T) {
				for range rapid.IntRange(1, 6).Draw(r, "changes") {
					g.log = append(g.log, modelChange(r, t, g.head()+1))
				}
			},
			"time": func(r *rapid.T) { g.watermark += 24 * 60 * 60 * rapid.Int64Range(1, 5).Draw(r, "days") },
			"delta": func(r *rapid.T) {
				if z.at.History != g.history {
					r.Skip("stands elsewhere")
				}
				from := rapid.Uint64Range(0, z.at.Index).Draw(r, "from")
				to := rapid.Uint64Range(max(from, 1), g.head()).Draw(r, "to")
				send(g.delta(from, to))
			},
			"full": func(r *rapid.T) {
				if g.head() == 0 {
					r.Skip("nothing happened yet")
				}
				send(g.full())
			},
			"merging": func(r *rapid.T) {
				if g.head() == 0 || g.history.Compare(z.at.History) < 0 {
					r.Skip("nothing to send")
				}
				p := g.full()
				p.Merging = z.at.History == g.history
				send(p)
			},
			"part of a set": func(r *rapid.T) {
				if g.head() == 0 || g.history.Compare(z.at.History) < 0 {
					r.Skip("nothing to send")
				}
				parts := split(g.full(), 1)
				for _, p := range parts[:rapid.IntRange(0, len(parts)-1).Draw(r, "sent")] {
					if err := s.Apply(t.Context(), p); err != nil {
						r.Fatal(err)
					}
				}
			},
			"restart": func(r *rapid.T) {
				if err := s.Close(); err != nil {
					r.Fatal(err)
				}
				s = open(s.path)
			},
			"crash": func(r *rapid.T) {
				data, err := os.ReadFile(s.path)
				if err != nil {
					r.Fatal(err)
				}
				s.Close()
				os.Remove(s.path)
				path := newPath()
				if err := os.WriteFile(path, data, 0o600); err != nil {
					r.Fatal(err)
				}
				s = open(path)
			},
			"backup": func(*rapid.T) { backup = modelGlobal{g.history, slices.Clone(g.log), g.watermark} },
			"restore": func(*rapid.T) {
				created := g.history.Created + 1
				g = &modelGlobal{federation.History{ID: fmt.Sprintf("%016x", created), Created: created}, slices.Clone(backup.log), backup.watermark}
			},
		})
	})
}
