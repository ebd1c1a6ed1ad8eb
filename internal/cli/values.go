package cli

import (
	"strings"

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
