package xdsdir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

// The bounds of a folder.
const (
	maxFiles   = 10_000
	maxEntries = 50_000 // looked at in one round
)

// stamp tells one state of a file from another.
type stamp struct {
	size    int64
	changed time.Time
	file    fs.FileInfo
}

func (s stamp) same(o stamp) bool {
	return s.size == o.size && s.changed.Equal(o.changed) && os.SameFile(s.file, o.file)
}

// settled is how long after its last change a file counts as written: what changes
// twice within the clock of the file system looks the same both times.
const settled = 3 * time.Second

// file is a file as it was read.
type file struct {
	stamp
	read      time.Time
	resources []resource
	err       error // why it cannot be used
}

// current reports whether a file need not be read again.
func (f *file) current(now stamp) bool {
	return f != nil && f.same(now) && clock.Span(now.changed, f.read) > settled
}

// found is what stands in the folder now: for each place its files, by path.
type found struct {
	places  map[string][]string
	stamps  map[string]stamp
	strange []error // folders that are about nobody, and what could not be looked at
	entries int
}

// look walks the folder. The error is that of the folder itself.
func look(root string) (*found, error) {
	f := &found{places: map[string][]string{}, stamps: map[string]stamp{}}
	if err := f.walk(root, ""); err != nil {
		return nil, err
	}
	return f, nil
}

// walk looks at a place and what is below it. It follows links: the layout, which
// is five folders deep at most, keeps it from going in circles.
func (f *found) walk(root, place string) error {
	entries, err := os.ReadDir(filepath.Join(root, filepath.FromSlash(place)))
	if err != nil {
		return federation.Errorf(federation.Invalid, "%s cannot be read: %w", path.Join("xds-dir", place), cause(err)).
			WithHint("name a folder that this process may read with --xds-dir")
	}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		if f.entries++; f.entries > maxEntries {
			return federation.Errorf(federation.TooLarge, "xds-dir has more than %d files and folders", maxEntries).
				WithHint("keep nothing in it but resources")
		}
		at := path.Join(place, name)
		info, err := os.Stat(filepath.Join(root, filepath.FromSlash(at)))
		switch {
		case err != nil:
			if err := f.unseen(place, at, entry, err); err != nil {
				return err
			}
		case info.IsDir() && isResource(at) && holds(place):
			// As container engines make one where the file to mount is not there.
			if err := f.add(place, at, info); err != nil {
				return err
			}
		case info.IsDir():
			if err := check(at); err != nil {
				f.strange = append(f.strange, err)
				continue
			}
			if err := f.walk(root, at); err != nil {
				return err
			}
		case isResource(at):
			if err := f.add(place, at, info); err != nil {
				return err
			}
		}
	}
	return nil
}

// unseen takes in what cannot be looked at. A link that leads nowhere is no file that was
// taken away: where it leads to may be a volume that is not mounted. Reading it says why.
func (f *found) unseen(place, at string, entry fs.DirEntry, why error) error {
	link, err := entry.Info()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // gone between two looks
	case err == nil && link.Mode()&fs.ModeSymlink != 0 && isResource(at):
		return f.add(place, at, link)
	case err == nil && link.Mode()&fs.ModeSymlink != 0:
		f.strange = append(f.strange, federation.Errorf(federation.Invalid, "%s cannot be looked at: %w", at, cause(why)))
		return nil
	}
	return federation.Errorf(federation.Invalid, "%s cannot be looked at: %w", at, cause(why))
}

// isResource reports whether a name is that of a file with resources.
func isResource(at string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(at))
}

// add takes in a file. More than the folder may have are an error of the whole: what was left
// out would count as taken away.
func (f *found) add(place, at string, info fs.FileInfo) error {
	if !holds(place) {
		f.strange = append(f.strange, federation.Errorf(federation.Invalid, "%s: no file counts in this folder", at).
			WithHint("put it into a folder such as all, dataplane/meshes/MESH or ingress"))
		return nil
	}
	if len(f.stamps) >= maxFiles {
		return federation.Errorf(federation.TooLarge, "xds-dir has more than %d files of resources", maxFiles).
			WithHint("put several resources into one file")
	}
	f.places[place] = append(f.places[place], at)
	f.stamps[at] = stamp{size: info.Size(), changed: info.ModTime(), file: info}
	return nil
}

// readFile reads and parses one file.
func readFile(root, at string, s stamp, now time.Time) *file {
	f := &file{stamp: s, read: now}
	data, err := readBounded(filepath.Join(root, filepath.FromSlash(at)))
	if err == nil {
		f.resources, err = parse(data)
	}
	if err != nil {
		f.err = inFile(at, err)
	}
	return f
}

func readBounded(name string) ([]byte, error) {
	in, err := disk.Open(name)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "cannot be read: %w", cause(err))
	}
	defer in.Close()
	if info, err := in.Stat(); err == nil && !info.Mode().IsRegular() {
		return nil, federation.Errorf(federation.Invalid, "is no ordinary file")
	}
	data, err := io.ReadAll(io.LimitReader(in, MaxFile+1))
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "cannot be read: %w", cause(err))
	}
	return data, nil
}

// cause is an error of the file system without the path, which is told already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// gather joins the files of a place. No two may have a resource of one type and
// name: which counts would be a matter of the files' names.
func gather(files map[string]*file, paths []string) (envoyres.Set, error) {
	l := envoyres.Set{}
	where := map[envoyres.Key]string{}
	for _, at := range slices.Sorted(slices.Values(paths)) {
		f := files[at]
		if f.err != nil {
			return nil, f.err
		}
		for _, r := range f.resources {
			if first, twice := where[r.Key]; twice {
				return nil, federation.Errorf(federation.Invalid, "%s: line %d: the %s %.80q stands in %s already", at, r.line, r.kindName(), r.Name, first).
					WithHint("give it another name, or remove one of the two")
			}
			where[r.Key] = fmt.Sprintf("%s, line %d", at, r.line)
			l[r.Key] = r.Resource
		}
	}
	return l, nil
}

// alike reports whether two readings of a file say the same.
func (f *file) alike(o *file) bool {
	if (f.err == nil) != (o.err == nil) || f.err != nil && f.err.Error() != o.err.Error() {
		return false
	}
	return slices.EqualFunc(f.resources, o.resources, func(a, b resource) bool {
		return a.Key == b.Key && a.line == b.line && a.Version == b.Version
	})
}
