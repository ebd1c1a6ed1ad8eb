package access

import (
	"bytes"
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/meridiankds/meridian/federation"
	configfile "github.com/meridiankds/meridian/internal/config"
	"github.com/meridiankds/meridian/internal/disk"
)

// reloadEvery is how often a running node looks at the file.
const reloadEvery = 5 * time.Second

// File is the roles of the YAML file that --roles-file names, which binds roles to
// users and groups. It is followed while a node runs: a binding that is taken away
// counts no longer within seconds, without a restart.
//
//	bindings:
//	- role: auditor
//	  groups: [audit]
//	- role: issuer
//	  users: [ci]
//	  kinds: [zone-token]
//	  zones: [west, east]
//	  maxValidity: 720h
//
// The members are those of [Binding]. Each node reads a file of its own; the digest
// tells whether two nodes have the same.
//
// Its methods are safe for concurrent use. A nil File is [DefaultRoles].
type File struct {
	path    string
	log     *slog.Logger
	current atomic.Pointer[Roles]
	follow  *disk.Follower[[]byte]
}

// OpenFile reads the file. What is wrong with it is an error now; later, in [File.Check],
// the bindings that were good stay in force.
func OpenFile(path string, log *slog.Logger) (*File, error) {
	f := &File{path: path, log: log}
	var err error
	f.follow, err = disk.Follow(disk.Following[[]byte]{
		Read: f.read,
		Same: bytes.Equal,
		Use:  f.use,
		Failed: func(err error) {
			f.log.Error("the new role bindings cannot be used, the former stay in force", "error", err, "hint", federation.AsError(err).Hint)
		},
		// Half a binding may allow more than a whole one.
		Settled: true,
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Roles are those in force now.
func (f *File) Roles() *Roles {
	if f == nil {
		return DefaultRoles()
	}
	return f.current.Load()
}

// Run follows the file until ctx ends.
func (f *File) Run(ctx context.Context) error {
	if f == nil {
		return nil
	}
	return f.follow.Run(ctx, reloadEvery)
}

// Check reads the file once and takes over what changed in it when two looks in a
// row have found the same. A file that cannot be used is logged, once.
func (f *File) Check() { f.follow.Check() }

// Reload takes over what the file holds now: whoever asks for it has finished writing.
func (f *File) Reload() {
	if f != nil {
		f.Check()
		f.Check()
	}
}

// use puts the bindings into force.
func (f *File) use(data []byte) error {
	roles, err := f.parse(data)
	if err != nil {
		return err
	}
	if before := f.current.Swap(roles); before != nil {
		f.log.Warn("role bindings were replaced", "file", f.path, "bindings", roles.Len(), "digest", roles.Digest(), "before", before.Digest())
	}
	return nil
}

const what = "roles file"

// read returns the file's bytes, unless others may write there: they
// could make themselves administrators.
func (f *File) read() ([]byte, error) {
	return configfile.Read(f.path, what, "--roles-file")
}

func (f *File) parse(data []byte) (*Roles, error) {
	var content struct {
		Bindings *[]Binding `json:"bindings"`
	}
	hint := "it holds bindings: a list with role, users or groups, and for issuers kinds, zones, meshes and maxValidity"
	if err := configfile.Unmarshal(data, f.path, what, &content); err != nil {
		return nil, federation.AsError(err).WithHint("%s", hint)
	}
	if content.Bindings == nil {
		return nil, federation.Errorf(federation.Invalid, "the %s %s holds no bindings", what, f.path).WithHint("%s; write bindings: [] to bind nobody", hint)
	}
	roles, err := NewRoles(*content.Bindings)
	if err != nil {
		e := federation.AsError(err)
		if e.Hint == "" {
			e = e.WithHint("%s", hint)
		}
		return nil, federation.Errorf(federation.Invalid, "the %s %s: %s", what, f.path, e.Detail).WithHint("%s", e.Hint)
	}
	return roles, nil
}
