package apiclient

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/endpoints"
)

// resolver holds what Resolve looks at.
type resolver struct {
	service Service
	flags   Flags
	env     func(string) string
	found   string // the address
	folder  string // the data folder that the address came from, or ""
}

// folders are the endpoints of the data folder that the address came from; at
// most one is filled. Two, because a flag counts more than the environment, and
// the environment more than a folder that it names.
type folders struct{ fromFlag, fromEnv endpoints.Endpoints }

func (r *resolver) envName(name string) string { return strings.ToUpper(r.service.Node) + "_" + name }
func (r *resolver) get(name string) string     { return r.env(r.envName(name)) }

func (r *resolver) address() (folders, error) {
	if r.found = r.flags.Address; r.found != "" {
		return folders{}, nil
	}
	if r.flags.DataDir != "" {
		e, err := r.read(r.flags.DataDir)
		return folders{fromFlag: e}, err
	}
	if r.found = r.profileOfFlag().Address; r.found != "" {
		return folders{}, nil
	}
	if r.found = r.env(r.service.AddressEnv); r.found != "" {
		return folders{}, nil
	}
	if dir := r.get("DATA_DIR"); dir != "" {
		e, err := r.read(dir)
		return folders{fromEnv: e}, err
	}
	if r.found = r.profile().Address; r.found != "" {
		return folders{}, nil
	}
	if dir := devFolder(r.service.Node); dir != "" {
		e, err := r.read(dir)
		return folders{fromEnv: e}, err
	}
	r.found = r.service.Default
	return folders{}, nil
}

// devFolder returns the data folder of the one node of its kind that runs below the
// present folder where `dev` puts it: meridian-data of a global, NAME-data of a zone. One
// that others may write, or that is another user's, is passed over: it says who is asked.
func devFolder(node string) string {
	names, err := filepath.Glob("*-data")
	if err != nil {
		return ""
	}
	found := ""
	for _, name := range names {
		info, err := os.Lstat(name)
		if err != nil || !info.IsDir() || disk.RightsOf(info).Write {
			continue
		}
		e, err := endpoints.Read(name)
		if err != nil || (node == "zone") != (e.DP != "") {
			continue
		}
		if found != "" {
			return "" // nobody said which
		}
		found = name
	}
	return found
}

func (r *resolver) read(dir string) (endpoints.Endpoints, error) {
	e, err := endpoints.Read(dir)
	if err != nil {
		return e, err
	}
	other := ""
	switch {
	case r.service.Node == "global" && e.DP != "":
		other = "zone"
	case r.service.Node == "zone" && e.KDS != "":
		other = "global"
	}
	if other != "" {
		return e, federation.Errorf(federation.Invalid, "%s is the data directory of a %s, not of a %s", dir, other, r.service.Node).
			WithHint("name the %s's with --data-dir or %s_DATA_DIR, or its address with %s", r.service.Node, strings.ToUpper(r.service.Node), r.service.AddressFlag)
	}
	r.folder = dir
	if r.found = r.socket(e); r.found != "" {
		return e, nil
	}
	if r.found = r.service.Find(e); r.found == "" {
		return e, federation.Errorf(federation.NotFound, "the node in %s serves no such port", dir).
			WithHint("name the address with %s", r.service.AddressFlag)
	}
	return e, nil
}

// socket returns the address of the socket in the folder, "" where there is none
// that this user can see. Only its name is taken from the file: the folder may
// have been moved, or be mounted from elsewhere.
func (r *resolver) socket(e endpoints.Endpoints) string {
	if !r.service.HasSocket || e.AdminSocket == "" {
		return ""
	}
	path, err := filepath.Abs(filepath.Join(r.folder, filepath.Base(e.AdminSocket)))
	if err != nil {
		return ""
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeSocket {
		return ""
	}
	return "unix://" + path
}

func first(candidates ...string) string {
	for _, c := range candidates {
		if c != "" {
			return c
		}
	}
	return ""
}
