package xdsdir

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

// vanished is what is wrong with a place whose last file is gone. It may be a volume that
// is not mounted: nothing is taken from a proxy for that.
func vanished(place, digest string) error {
	return federation.Errorf(federation.Invalid, "%s: the last file of resources is gone (%s)", place, digest).
		WithHint("bring the files back, or, if nothing is meant to be there, say so with `zone xds accept %s`, or put a file with the line resources: [] into it", digest)
}

// digest names what a place held, so that somebody can say that just this may go.
func (d *Dir) digest(place string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q", place)
	for _, key := range slices.SortedFunc(maps.Keys(d.layers[place]), func(a, b envoyres.Key) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	}) {
		fmt.Fprintf(h, " %d %q %q", key.Kind, key.Name, d.layers[place][key].Version)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// Accept lets go what a place held whose files are gone: the one whose problem names the
// digest. It returns the place. A NotFound error changes nothing.
func (d *Dir) Accept(digest string) (place string, err error) {
	if place, err = d.accept(digest, d.look()); err == nil {
		d.save()
	}
	return place, err
}

// accept is Accept without the file. now is what stands in the folder, nil where that cannot
// be said: files that are back, and not read yet, are not taken from anybody.
func (d *Dir) accept(digest string, now *found) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for place, gone := range d.gone {
		if gone != digest || now != nil && len(now.places[place]) > 0 {
			continue
		}
		var made change
		made.add(place, nil, d.layers[place], nil)
		d.mend(place)
		delete(d.layers, place)
		d.tell(&made)
		d.wake()
		return place, nil
	}
	return "", federation.Errorf(federation.NotFound, "no folder of resources whose files are gone has the digest %.40q", digest).
		WithHint("`zone status` shows which there are: files may have come back, or changed before they went")
}

// mend forgets what was wrong with a place.
func (d *Dir) mend(place string) {
	delete(d.broken, place)
	delete(d.gone, place)
}

// wake tells whoever waits for a change.
func (d *Dir) wake() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// empty takes it that a place has no file any more. It reports whether that changes
// anything.
func (d *Dir) empty(place string) (changed bool) {
	l, had := d.layers[place]
	if len(l) > 0 || !had && d.remembered[place] {
		d.gone[place] = d.digest(place)
		d.complain(place, vanished(place, d.gone[place]))
		return false
	}
	changed = d.broken[place] != nil
	delete(d.layers, place)
	d.mend(place)
	return changed
}

// load reads which places held something when the directory was last looked at, by an
// earlier process too.
func (d *Dir) load() {
	if d.cfg.State == "" {
		return
	}
	data, err := os.ReadFile(d.cfg.State)
	var places []string
	if err == nil {
		err = json.Unmarshal(data, &places)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.cfg.Logger.Warn("which folders of resources held something is not known", "file", d.cfg.State, "error", err)
	}
	for _, place := range places {
		d.remembered[place] = true
	}
}

// save writes it, where it changed. A disk that hangs stops who looks at the folder, and
// nobody who is given what is in it.
func (d *Dir) save() {
	d.saving.Lock()
	defer d.saving.Unlock()
	now := d.holding()
	if d.cfg.State == "" || maps.Equal(now, d.remembered) {
		d.unsaved = ""
		return
	}
	data, err := json.Marshal(slices.Sorted(maps.Keys(now)))
	if err == nil {
		err = tlsutil.WriteFile(d.cfg.State, data, 0o600)
	}
	if err != nil {
		if why := cause(err).Error(); why != d.unsaved { // it is tried again at each look
			d.unsaved = why
			d.cfg.Logger.Warn("which folders of resources hold something cannot be written", "file", d.cfg.State, "error", err)
		}
		return
	}
	d.unsaved = ""
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remembered = now
}

// holding are the places that hold something, or did and are waited for.
func (d *Dir) holding() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := map[string]bool{}
	for place, l := range d.layers {
		now[place] = len(l) > 0
	}
	for place := range d.remembered {
		if _, known := now[place]; !known && d.broken[place] != nil {
			now[place] = true // lost, and still waited for
		}
	}
	maps.DeleteFunc(now, func(_ string, holds bool) bool { return !holds })
	return now
}

// change is what one look at the folder changed.
type change struct {
	places, files                          []string
	before, after, added, altered, removed int
	last                                   []string // kinds of which a place has none any more
}

// add takes in what changed in a place.
func (c *change) add(place string, files []string, before, after envoyres.Set) {
	c.places, c.files = append(c.places, place), append(c.files, files...)
	c.before, c.after = c.before+len(before), c.after+len(after)
	for key, r := range after {
		switch was := before[key]; {
		case was == nil:
			c.added++
		case was.Version != r.Version:
			c.altered++
		}
	}
	for key := range before {
		if after[key] == nil {
			c.removed++
		}
	}
	for kind, name := range map[envoyres.Kind]string{types.Listener: "listener", types.Cluster: "cluster"} {
		if count(before, kind) > 0 && count(after, kind) == 0 {
			c.last = append(c.last, "the last "+name+" of "+place)
		}
	}
}

// maxTold is how many names of files or folders a line has.
const maxTold = 10

func told(names []string) []string {
	slices.Sort(names)
	if rest := len(names) - maxTold; rest > 0 {
		names = append(names[:maxTold:maxTold], fmt.Sprintf("and %d more", rest))
	}
	return names
}

// tell logs a change, and warns where it takes the last listener or cluster of a place.
func (d *Dir) tell(c *change) {
	words := []any{"places", told(c.places), "files", told(c.files)}
	if d.cfg.Connected != nil {
		about := func(p Proxy) bool {
			return slices.ContainsFunc(p.places(), func(place string) bool { return slices.Contains(c.places, place) })
		}
		n := 0
		for _, p := range d.cfg.Connected() {
			if about(p) {
				n++
			}
		}
		words = append(words, "proxies", n)
	}
	d.cfg.Logger.Info("resources changed", append(words, "before", c.before, "after", c.after, "added", c.added, "changed", c.altered, "removed", c.removed)...)
	for _, what := range c.last {
		d.cfg.Logger.Warn(what + " was removed from the folder of resources")
	}
}

func count(set envoyres.Set, kind envoyres.Kind) (n int) {
	for key := range set {
		if key.Kind == kind {
			n++
		}
	}
	return n
}
