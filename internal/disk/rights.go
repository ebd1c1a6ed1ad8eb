package disk

import (
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"

	"github.com/meridiankds/meridian/federation"
)

// Rights are what others than this process's user may do with a file or directory.
// Others are the world, a group that is not one of the process's own, and an owner who
// is neither root nor the process's user. A group of the process's own is no other: a
// Kubernetes secret is 0440 and a volume 2770, both root's and of the Pod's fsGroup.
type Rights struct {
	Read, Write, Enter bool
	Mode               fs.FileMode
}

// process is as whom this process uses files.
type process struct {
	uid    int
	groups []int
}

func self() process {
	groups, err := os.Getgroups()
	if err != nil {
		groups = nil // then fewer groups are its own
	}
	return process{os.Geteuid(), append(groups, os.Getegid())}
}

// RightsOf judges a file or directory.
func RightsOf(info fs.FileInfo) Rights { return self().judge(info) }

// judge applies the rule. Where the system tells no owner, the mode decides alone.
func (p process) judge(info fs.FileInfo) Rights {
	r := Rights{Mode: info.Mode()}
	perm := info.Mode().Perm()
	others := perm & 0o007
	if uid, gid, ok := owner(info); !ok {
		others |= perm >> 3 & 0o007
	} else {
		if uid != 0 && uid != p.uid {
			others = 0o007 // an owner gives himself what he lacks
		}
		if !slices.Contains(p.groups, gid) {
			others |= perm >> 3 & 0o007
		}
	}
	r.Read, r.Write, r.Enter = others&0o004 != 0, others&0o002 != 0, others&0o001 != 0
	return r
}

// TooOpen is the reason of an error about a file that others may use.
const TooOpen = "too_open"

// CheckSecret refuses a private key or a seal key that others may read or write: what
// they have read cannot be taken back. what names it in the error.
func CheckSecret(what, path string, info fs.FileInfo) error {
	r := RightsOf(info)
	verb := "read"
	switch {
	case r.Write:
		verb = "written"
	case !r.Read:
		return nil
	}
	return federation.Errorf(federation.Invalid, "the %s %s may be %s by others (mode %#o)", what, path, verb, r.Mode.Perm()).
		WithReason(TooOpen).WithHint("take that away: chmod 600 %s, with an owner or a group that this program runs as", path)
}

// CheckWritten refuses a file that others may write. A device belongs to the system, which
// says who may.
func CheckWritten(what, path string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeCharDevice != 0 {
		return nil
	}
	if r := RightsOf(info); r.Write {
		return writable(what, path, r)
	}
	return nil
}

// CheckToken refuses a token file that others may write. One that others may read is
// taken, with a warning: tokens are often written under an ordinary umask.
func CheckToken(what, path string, info fs.FileInfo) (warning string, err error) {
	if info.Mode()&fs.ModeCharDevice != 0 {
		return "", nil // a terminal belongs to whoever sits at it, with a group of its own
	}
	r := RightsOf(info)
	if r.Write {
		return "", writable(what, path, r)
	}
	if r.Read {
		return "the " + what + " " + path + " may be read by others: chmod 600 " + path, nil
	}
	return "", nil
}

// Owner names whose a file or directory is, for messages: "the user meridian". What nobody
// can tell is "its owner".
func Owner(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "its owner"
	}
	uid, _, ok := owner(info)
	if !ok {
		return "its owner"
	}
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil {
		return "the user " + u.Username
	}
	return "the user " + id
}

// foreigner refuses a file or directory of another user's, who may do with it what he
// likes; nil where it is not.
func (p process) foreigner(what, path string, info fs.FileInfo) error {
	uid, _, ok := owner(info)
	if !ok || uid == 0 || uid == p.uid {
		return nil
	}
	return federation.Errorf(federation.Invalid, "the %s %s belongs to %s, and this program runs as another", what, path, Owner(path)).
		WithReason(TooOpen).WithHint("run it as %s, or give it to this one: chown -R %d %s", Owner(path), p.uid, path)
}

func writable(what, path string, r Rights) error {
	if info, err := os.Stat(path); err == nil {
		if err := self().foreigner(what, path, info); err != nil {
			return err
		}
	}
	return federation.Errorf(federation.Invalid, "the %s %s may be written by others (mode %#o)", what, path, r.Mode.Perm()).
		WithReason(TooOpen).WithHint("take that away: chmod go-w %s, with an owner or a group that this program runs as", path)
}
