package xdsdir

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

// ReloadEvery is how often the folder is looked at. What changes is read once two looks see
// the same, so that several files that are edited one after another are one change; after
// mostLooks it is read though it still changes.
const (
	ReloadEvery = time.Second
	mostLooks   = 10
)

// kindName is the short name of the resource's type, such as Cluster.
func (r resource) kindName() string { return string(proto.MessageName(r.Message).Name()) }

// Config is what [Open] needs.
type Config struct {
	Path string
	// State is a file of this program that remembers which places held something, so that
	// one that is empty after a restart is noticed; "" remembers nothing.
	State string
	// Connected are the proxies that a change is told to, for its line in the log; nil: it
	// does not say how many these are.
	Connected func() []Proxy
	Logger    *slog.Logger     // nil: no log
	Now       func() time.Time // nil: time.Now
}

// Dir is the folder as it was read last. It is safe for concurrent use.
type Dir struct {
	cfg Config

	mu      sync.Mutex
	changed chan struct{}
	files   map[string]*file
	layers  map[string]envoyres.Set // the last good state of each place
	broken  map[string]error        // of places that cannot be used as they are now
	gone    map[string]string       // digests of those of them whose files are gone
	strange map[string]error        // what counts nowhere, by its text
	passed  map[string][]string     // of each place the types that were told to be unchecked
	lost    error                   // why the folder as a whole cannot be read
	// remembered are the places that held something, as far as the file of them says. It is
	// written by whoever holds saving too.
	remembered map[string]bool
	saving     sync.Mutex // taken before mu
	unsaved    string     // why it could not be written last; under saving
	opened     bool       // the first state is no change

	// reading has one look at a time taken, so that none is followed by an older one. It is
	// held before the others.
	reading sync.Mutex
	// What the last look of Run saw, and how many in a row saw something else.
	seen   *found
	looked int
}

// Open reads the folder. An error is that of the folder itself; what is wrong in
// it is logged, and told by Problems.
func Open(cfg Config) (*Dir, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &Dir{cfg: cfg, changed: make(chan struct{}), files: map[string]*file{},
		layers: map[string]envoyres.Set{}, broken: map[string]error{}, gone: map[string]string{}, strange: map[string]error{},
		passed: map[string][]string{}, remembered: map[string]bool{}}
	f, err := look(cfg.Path)
	if err != nil {
		return nil, err
	}
	d.load()
	d.take(f)
	d.opened, d.seen = true, f
	return d, nil
}

// Run looks at the folder until ctx ends. It returns nil.
func (d *Dir) Run(ctx context.Context) error {
	return disk.Poll(ctx, ReloadEvery, d.poll)
}

// poll reads what has changed, unless somebody is still at it.
func (d *Dir) poll() {
	d.reading.Lock()
	defer d.reading.Unlock()
	if f := d.look(); f != nil && d.quiet(f) {
		d.take(f)
	}
}

// quiet reports whether the folder is as the last look saw it, or has changed for too long
// to wait.
func (d *Dir) quiet(f *found) bool {
	same := maps.EqualFunc(d.seen.stamps, f.stamps, stamp.same)
	d.seen = f
	if d.looked++; same || d.looked >= mostLooks {
		d.looked = 0
		return true
	}
	return false
}

// Check reads now what has changed.
func (d *Dir) Check() {
	d.reading.Lock()
	defer d.reading.Unlock()
	if f := d.look(); f != nil {
		d.take(f)
	}
}

// look is what stands in the folder; nil where that cannot be said. A folder that is gone as
// a whole, as while a volume is mounted anew, changes nothing.
func (d *Dir) look() *found {
	f, err := look(d.cfg.Path)
	if err == nil {
		return f
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost == nil || err.Error() != d.lost.Error() {
		d.lost = err
		d.cfg.Logger.Error("the folder of resources cannot be read, what it held stays in use", "error", err)
	}
	return nil
}

// take makes what was found the state of the folder, and remembers it.
func (d *Dir) take(f *found) {
	d.settle(f)
	d.save()
}

// settle is take without the file.
func (d *Dir) settle(f *found) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost != nil {
		d.lost = nil
		d.cfg.Logger.Info("the folder of resources can be read again")
	}
	touched := d.reread(f)
	changed := false
	if !d.opened {
		for place := range d.remembered {
			touched[place] = nil
		}
	}
	var made change
	for _, place := range slices.Sorted(maps.Keys(touched)) {
		if len(f.places[place]) == 0 {
			changed = d.empty(place) || changed
			continue
		}
		l, err := gather(d.files, f.places[place])
		if err != nil {
			d.complain(place, err)
			continue
		}
		if d.broken[place] != nil {
			d.cfg.Logger.Info("the resources can be used again", "folder", place)
		}
		d.mend(place)
		made.add(place, touched[place], d.layers[place], l)
		d.layers[place], changed = l, true
		d.tellUnchecked(place, f.places[place])
	}
	if d.opened && len(made.places) > 0 {
		d.tell(&made)
	}
	d.complainStrange(f.strange)
	if changed {
		d.wake()
	}
}

// reread reads the files that changed and forgets those that are gone, and
// returns them by the places they are of.
func (d *Dir) reread(f *found) (touched map[string][]string) {
	touched = map[string][]string{}
	touch := func(at string) { touched[placeOf(at)] = append(touched[placeOf(at)], at) }
	for at := range d.files {
		if _, still := f.stamps[at]; !still {
			touch(at)
			delete(d.files, at)
		}
	}
	for at, s := range f.stamps {
		if old := d.files[at]; !old.current(s) {
			fresh := readFile(d.cfg.Path, at, s, d.cfg.Now())
			if old == nil || !old.alike(fresh) {
				touch(at)
			}
			d.files[at] = fresh
		}
	}
	return touched
}

func placeOf(at string) string { return at[:strings.LastIndexByte(at, '/')] }

// complain logs, once, that a place cannot be used as it is.
func (d *Dir) complain(place string, err error) {
	if was := d.broken[place]; was != nil && was.Error() == err.Error() {
		return
	}
	d.broken[place] = err
	instead := "what they held before stays in use"
	if d.layers[place] == nil {
		instead = "whom they are about is given nothing until they are mended"
	}
	d.cfg.Logger.Error("resources cannot be used, "+instead, "folder", place, "error", err, "hint", federation.AsError(err).Hint)
}

func (d *Dir) complainStrange(list []error) {
	now := map[string]error{}
	for _, err := range list {
		now[err.Error()] = err
		if d.strange[err.Error()] == nil {
			d.cfg.Logger.Warn("a part of the folder of resources counts for nobody", "error", err, "hint", federation.AsError(err).Hint)
		}
	}
	d.strange = now
}

// Changed returns a channel that is closed when what For answers may have changed.
func (d *Dir) Changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

// Problems returns what is wrong in the folder now, each with file and line.
func (d *Dir) Problems() []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := slices.Concat(slices.Collect(maps.Values(d.broken)), slices.Collect(maps.Values(d.strange)))
	if d.lost != nil {
		list = append(list, d.lost)
	}
	slices.SortFunc(list, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return list
}

// Size returns in how many places resources stand that can be used, and how many.
func (d *Dir) Size() (places, resources int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.layers {
		resources += len(l)
	}
	return len(d.layers), resources
}

// For returns the resources of a proxy; none where no folder is about it. It is an
// Unavailable error where one is that was never good. The resources must not be changed.
func (d *Dir) For(p Proxy) (envoyres.Set, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := envoyres.Set{}
	for _, place := range p.places() {
		l, ok := d.layers[place]
		if err := d.broken[place]; err != nil && !ok {
			return nil, federation.Errorf(federation.Unavailable, "the resources in %s cannot be used: see the log of this zone", place).WithCause(err)
		}
		maps.Copy(out, l)
	}
	return out, nil
}
