package kds

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
)

// KeySetUse says that verifiers fetched a key set of a zone. Nobody can tell which of
// them still verify with their copy.
type KeySetUse struct {
	// Set is "zone" or "dataplane/MESH", as in the path of the key set.
	Set   string    `json:"set"`
	Count uint64    `json:"count"` // fetches, since the zone began to count
	Last  time.Time `json:"last"`  // in whole seconds
}

// KeySets tells which key sets were fetched at a zone.
type KeySets interface {
	// Uses returns what is remembered, by set.
	Uses() []KeySetUse
	// Changed returns a channel that is closed at the next use that the global should
	// hear of. Who takes it before Uses misses nothing.
	Changed() <-chan struct{}
}

// MaxKeySets bounds the uses in one report; those fetched last are told.
const MaxKeySets = 64

// MaxKeySetsLen bounds the text of a report, in bytes.
const MaxKeySetsLen = MaxKeySets * 160

// FormatKeySets writes uses as they travel and are kept: a line each of set, count and
// Unix time of the last fetch. A use that [ParseKeySets] refuses is left out: the global
// would refuse the zone's connection for it.
func FormatKeySets(uses []KeySetUse) string {
	latest := slices.DeleteFunc(slices.Clone(uses), func(u KeySetUse) bool {
		_, err := parseKeySet(u.line())
		return err != nil
	})
	slices.SortFunc(latest, func(a, b KeySetUse) int { return cmp.Or(clock.Order(b.Last, a.Last), cmp.Compare(a.Set, b.Set)) })
	slices.SortStableFunc(latest, func(a, b KeySetUse) int { return cmp.Compare(b.alive(), a.alive()) })
	latest = latest[:min(len(latest), MaxKeySets)]
	slices.SortFunc(latest, func(a, b KeySetUse) int { return cmp.Compare(a.Set, b.Set) })
	lines := make([]string, len(latest))
	for i, u := range latest {
		lines[i] = u.line()
	}
	return strings.Join(lines, "\n")
}

// livePrefix begins the Set of a use that tells of no key set, but of the sessions that are
// open at the zone with tokens of one key: "live/zone/1", "live/dataplane/MESH/2". Count is
// how many there are, Last has no meaning.
const livePrefix = "live/"

// LiveUse tells how many sessions are open with tokens of a key.
func LiveUse(key cptoken.KeyID, sessions int) KeySetUse {
	set := livePrefix + string(key.Kind) + "/"
	if key.Mesh != "" {
		set += key.Mesh + "/"
	}
	return KeySetUse{Set: set + key.KID, Count: uint64(max(sessions, 0)), Last: time.Unix(0, 0)}
}

// Live returns the key of a use that [LiveUse] made; ok is false for one of a key set.
func (u KeySetUse) Live() (key cptoken.KeyID, ok bool) {
	text, ok := strings.CutPrefix(u.Set, livePrefix)
	if !ok {
		return key, false
	}
	words := strings.Split(text, "/")
	key = cptoken.KeyID{Kind: cptoken.Kind(words[0]), KID: words[len(words)-1]}
	if len(words) == 3 {
		key.Mesh = words[1]
	}
	known := key.Kind.Valid() && key.Kind.PerMesh() == (len(words) == 3) && len(words) >= 2 && len(words) <= 3
	if key.Mesh != "" && federation.ValidateName("mesh", key.Mesh) != nil {
		known = false
	}
	return key, known && liveKID.MatchString(key.KID)
}

// liveKID is what the kid of a key may be, whoever made it.
var liveKID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ReportKeySets returns the two texts in which uses travel, by their names.
func ReportKeySets(uses []KeySetUse) map[string]string {
	var fetched, live []KeySetUse
	for _, u := range uses {
		if u.alive() > 0 {
			live = append(live, u)
		} else {
			fetched = append(fetched, u)
		}
	}
	return map[string]string{VersionKeySets: FormatKeySets(fetched), VersionLiveKeys: FormatKeySets(live)}
}

// JoinKeySets puts the two texts of a report together, as one that [ParseKeySets] reads.
func JoinKeySets(fetched, live string) string {
	a, errA := ParseKeySets(fetched)
	b, errB := ParseKeySets(live)
	if errA != nil || errB != nil {
		return "" // the wire has refused them before
	}
	return FormatKeySets(append(a, b...))
}

// alive orders the uses of live sessions before others.
func (u KeySetUse) alive() int {
	if _, ok := u.Live(); ok {
		return 1
	}
	return 0
}

func (u KeySetUse) line() string {
	return u.Set + " " + strconv.FormatUint(u.Count, 10) + " " + strconv.FormatInt(u.Last.Unix(), 10)
}

// ParseKeySets is the inverse of [FormatKeySets].
func ParseKeySets(text string) ([]KeySetUse, error) {
	if text == "" {
		return nil, nil
	}
	lines := strings.Split(text, "\n")
	if len(lines) > MaxKeySets {
		return nil, federation.Errorf(federation.TooLarge, "a report of %d key sets, at most %d are taken", len(lines), MaxKeySets)
	}
	uses := make([]KeySetUse, len(lines))
	for i, line := range lines {
		var err error
		if uses[i], err = parseKeySet(line); err != nil {
			return nil, err
		}
	}
	return uses, nil
}

func parseKeySet(line string) (KeySetUse, error) {
	malformed := federation.Errorf(federation.Invalid, "a report of key sets is malformed at %.200q", line)
	fields := strings.Split(line, " ")
	if len(fields) != 3 {
		return KeySetUse{}, malformed
	}
	if _, live := (KeySetUse{Set: fields[0]}).Live(); live {
		// It needs no more of the form than its name.
	} else if mesh, perMesh := strings.CutPrefix(fields[0], "dataplane/"); fields[0] != "zone" && (!perMesh || federation.ValidateName("mesh", mesh) != nil) {
		return KeySetUse{}, malformed
	}
	count, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return KeySetUse{}, malformed
	}
	last, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil || last < 0 || last > maxKeySetTime {
		return KeySetUse{}, malformed
	}
	return KeySetUse{Set: fields[0], Count: count, Last: time.Unix(last, 0)}, nil
}

// maxKeySetTime is the end of the year 9999, the last that JSON can carry.
const maxKeySetTime = 253402300799
