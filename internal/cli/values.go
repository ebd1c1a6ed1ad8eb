package cli

import (
	"strings"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// Words splits at commas what a flag that may be repeated was given, and drops
// the blanks: "--scope egress,ingress" is "--scope egress --scope ingress".
func Words(values []string) []string {
	var out []string
	for _, v := range values {
		for w := range strings.SplitSeq(v, ",") {
			if w = strings.TrimSpace(w); w != "" {
				out = append(out, w)
			}
		}
	}
	return out
}

// Tags collects the values of a flag NAME=VALUE[,VALUE…] that may be repeated. It
// is a [cli.Generic]: a slice flag would cut the values apart.
type Tags map[string][]string

// Set implements cli.Generic.
func (t Tags) Set(s string) error {
	name, values, ok := strings.Cut(s, "=")
	list := Words([]string{values})
	if name = strings.TrimSpace(name); !ok || name == "" || len(list) == 0 {
		return federation.Errorf(federation.Invalid, "is not NAME=VALUE[,VALUE…]")
	}
	t[name] = append(t[name], list...)
	return nil
}

// String implements cli.Generic: there is no default to show.
func (t Tags) String() string { return "" }

// PointInTime reads the value of a flag that is a time as people write it: "now", a
// day, a time of RFC 3339, or how long ago it was.
func PointInTime(flag, text string, now time.Time) (time.Time, error) {
	if text == "now" {
		return now, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if at, err := time.Parse(time.DateOnly, text); err == nil {
		return at, nil
	}
	if ago, err := time.ParseDuration(hours(text)); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, Usagef("write it like 2026-11-22T06:30:00Z, 2026-11-22, now, or 24h for a day ago", "%s: %.40q is not a time", flag, text)
}

// PointAhead reads the value of a flag that is a time to come: as [PointInTime] does, but
// that a length of time is how far ahead it is.
func PointAhead(flag, text string, now time.Time) (time.Time, error) {
	if ahead, err := time.ParseDuration(hours(text)); err == nil && ahead >= 0 {
		return now.Add(ahead), nil
	}
	at, err := PointInTime(flag, text, now)
	if err != nil {
		return at, Usagef("write it like 30d for in 30 days, 12h, 2026-12-24 or 2026-12-24T06:30:00Z", "%s: %.40q is not a time", flag, text)
	}
	return at, nil
}
