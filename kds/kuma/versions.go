package kuma

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What a global sends, or has zones do, and not every version of Kuma's zone control
// plane heeds.
const (
	ZoneRevocations = "lists of zone tokens"
	DataplaneKeys   = "keys of dataplane tokens"
	CutOffs         = "cut-offs"
	OpenStreams     = "revocations on open streams"
	RegisteredKeys  = "registered public keys"
	Expulsions      = "expelled certificates"
)

// heeded says since which version one of these is heeded, and how that is known.
type heeded struct {
	what   string
	since  [2]int // major and minor; zero: no version does
	source string
}

// table is what each version heeds. Lists of dataplane tokens are not in it: they are
// sent as the secret of the mesh, where zones up to 2.9 look, and as a global secret,
// where later ones do (kuma#12913).
var table = [...]heeded{
	{ZoneRevocations, [2]int{2, 10}, "2.8.8 and 2.9.13 acknowledged the list and dropped it, 2.14.3 heeded it within 12 ms; the versions between are read off the release history"},
	{DataplaneKeys, [2]int{}, "2.8.8, 2.9.13 and 2.14.3 take a private key from their global, and public ones from their own configuration"},
	{CutOffs, [2]int{}, "there is no such resource in 2.8.8, 2.9.13 and 2.14.3"},
	{OpenStreams, [2]int{}, "2.8.8, 2.9.13 and 2.14.3 check a token when a stream opens (kuma#12788)"},
	{RegisteredKeys, [2]int{}, "2.8.8, 2.9.13 and 2.14.3 have no bounds for a key, so that none is sent"},
	{Expulsions, [2]int{}, "2.8.8, 2.9.13 and 2.14.3 know their global by a CA and a host name alone"},
}

// release is a minor version of Kuma 2, and how it is known what it does.
type release struct{ minor, source string }

// releases are those of which the table speaks. Of others it is taken to go on as with the
// nearest.
var releases = [...]release{
	{"8", "2.8.8 was run as zone, as global and with its kumactl and kuma-dp"},
	{"9", "2.9.13 was run as zone, as global and with its kumactl and kuma-dp"},
	{"10", "read: lists of dataplane tokens among global secrets (kuma#12913), lists of zone tokens heeded"},
	{"11", "read: kumactl asks for /globalsecrets (kuma#13418)"},
	{"12", "read: nothing that concerns a global"},
	{"13", "read: kri in what kumactl writes (kuma#14674), the claim Workload (kuma#15043)"},
	{"14", "2.14.3 was run as zone, as global and with its kumactl and kuma-dp"},
}

// Unheeded returns what a version of Kuma's zone control plane does not heed. One that
// cannot be read heeds nothing that not all versions do.
func Unheeded(version string) []string {
	var list []string
	for i := range table {
		if !table[i].by(version) {
			list = append(list, table[i].what)
		}
	}
	return list
}

// Heeds reports whether a version of Kuma's zone control plane heeds something.
func Heeds(version, what string) bool {
	for i := range table {
		if table[i].what == what {
			return table[i].by(version)
		}
	}
	return false
}

func (h *heeded) by(version string) bool {
	return h.since != [2]int{} && AtLeast(version, h.since[0], h.since[1])
}

// AtLeast reports whether the version of one of Kuma's programs is that release or a
// later one. What came before a release may lack what the release has; of a version that
// cannot be read nothing is known.
func AtLeast(version string, major, minor int) bool {
	number, pre, _ := strings.Cut(version, "-")
	parts := strings.SplitN(number, ".", 3)
	if len(parts) < 2 {
		return false
	}
	its, err := strconv.Atoi(parts[0])
	if err != nil {
		return false
	}
	itsMinor, err := strconv.Atoi(parts[1])
	if err != nil {
		return false
	}
	if pre != "" && its == major && itsMinor == minor && (len(parts) < 3 || parts[2] == "0") {
		return false
	}
	return its > major || its == major && itsMinor >= minor
}

// kumactls has the form of the versions of kumactl, and its minor version.
var kumactls = regexp.MustCompile(`^2\.([0-9]{1,2})\.[0-9]{1,3}(?:-[0-9A-Za-z.]{1,40})?$`)

// Speaks reports whether kumactl of a version asks for what the global serves.
func Speaks(version string) bool {
	parts := kumactls.FindStringSubmatch(version)
	return parts != nil && slices.ContainsFunc(releases[:], func(r release) bool { return r.minor == parts[1] })
}
