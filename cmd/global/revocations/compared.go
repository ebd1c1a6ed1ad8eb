package revocations

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// exactlyFlag has ids revoked as they stand.
func exactlyFlag() cli.Flag {
	return &cli.BoolFlag{Name: "exactly", Usage: "take the ids as they stand, and do not compare them with those of known tokens"}
}

// uuidForm is what the ids that are issued here look like.
const uuidForm = "0e120ec9-6b42-495d-9758-07b59fe86fb9"

// together is what is known of the ids of two requests.
func together(a, b *apitypes.Compared) *apitypes.Compared {
	if a == nil || b == nil {
		return b
	}
	b.Unknown, b.Elsewhere = append(a.Unknown, b.Unknown...), append(a.Elsewhere, b.Elsewhere...)
	return b
}

// unknown says in the line of a revocation how many of its ids no known token has.
func unknown(c *apitypes.Compared, ids int) string {
	switch {
	case c == nil || len(c.Unknown)+len(c.Elsewhere) == 0:
		return ""
	case ids == 1:
		return "; no such token is known to have this id"
	}
	return fmt.Sprintf("; no such token is known to have %d of the ids", len(c.Unknown)+len(c.Elsewhere))
}

// tellUnknown warns of ids that may be mistaken: their tokens are accepted as before.
func tellUnknown(voice *console.Voice, kind, mesh string, c *apitypes.Compared) {
	if c == nil {
		return
	}
	name := client.TokenName(kind)
	for _, other := range c.Elsewhere {
		its := ofKind(1, other.Kind, other.Mesh)[2:]
		voice.Warn("%s is the id of a %s, which is accepted as before: it was revoked as that of a %s", other.ID, its, ofKind(1, kind, mesh)[2:])
		hint := "global revoke --kind " + client.TokenName(other.Kind)
		if other.Mesh != "" {
			hint += " --mesh " + other.Mesh
		}
		voice.Hint("%s %s", hint, other.ID)
	}
	if len(c.Unknown) == 0 {
		return
	}
	text := fmt.Sprintf("no %s with the id %s is known", name, console.Names(c.Unknown))
	if len(c.Unknown) > 1 {
		text = fmt.Sprintf("no %s is known with one of %d ids: %s", name, len(c.Unknown), console.Names(c.Unknown))
	}
	if slices.ContainsFunc(c.Unknown, func(id string) bool { return len(id) != len(uuidForm) }) {
		text += "; ids that are issued here are UUIDs"
	}
	if c.Since != nil {
		text += "; the members' records begin at " + c.Since.UTC().Format(time.RFC3339)
	}
	if len(c.Silent) > 0 {
		text += "; members that did not tell theirs: " + strings.Join(c.Silent, ", ")
	}
	if len(c.Others) > 0 {
		text += "; tokens that others sign, with " + console.Names(c.Others) + ", are never known here"
	}
	voice.Warn("%s", text)
	hint := "global get tokens --kind " + name + " shows the ids of those that were issued"
	if mesh != "" {
		hint = "global get tokens --kind " + name + " --mesh " + mesh + " shows the ids of those that were issued"
	}
	voice.Hint("%s; of a token at hand: global inspect token FILE", hint)
}
