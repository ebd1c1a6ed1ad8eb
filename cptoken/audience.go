package cptoken

import (
	"slices"
	"strings"
)

// A user token is shown to the global, or to a zone that passes a request on. Whoever sees
// a token can show it in turn, so one that a zone may see is good for nothing at the global
// but what that zone itself relays.

const zoneAudience = "zone:"

// ZoneAudience is the audience of user tokens that are shown to a zone: "zone:west".
func ZoneAudience(zone string) string { return zoneAudience + zone }

// ZoneAudiences are the audiences of zones; nil for none.
func ZoneAudiences(zones []string) (list []string) {
	for _, zone := range zones {
		list = append(list, ZoneAudience(zone))
	}
	return list
}

// ForZones returns the zones that a user token is for; none where it is for the global.
func (c *Claims) ForZones() (zones []string) {
	for _, a := range c.Audience {
		if zone, ok := strings.CutPrefix(a, zoneAudience); ok {
			zones = append(zones, zone)
		}
	}
	return zones
}

// CheckAudience refuses a user token that is not for the zone, or, where zone is empty, one
// that is not for the global.
func (c *Claims) CheckAudience(zone string) error {
	switch {
	case zone == "" && c.Audience == nil:
		return nil
	case zone == "":
		return Refuse(WrongAudience, "the user token is for %s, and not for the global", audienceList(c.Audience)).
			WithHint("to ask %s, name it with --data-dir or --address; the global takes a token without an audience: global generate user-token --name %s",
				askedZone(c.ForZones()), shownName(c.Name))
	case slices.Contains(c.Audience, ZoneAudience(zone)):
		return nil
	case c.Audience == nil:
		return Refuse(WrongAudience, "the user token is for the global, and not for zone %s, which must not have it", zone).
			WithHint("revoke it where that zone is not trusted, and show it one of its own: global generate user-token --name %s --for-zone %s", shownName(c.Name), zone)
	}
	return Refuse(WrongAudience, "the user token is for %s, and not for zone %s", audienceList(c.Audience), zone).
		WithHint("show it one of its own: global generate user-token --name %s --for-zone %s", shownName(c.Name), zone)
}

// askedZone names the zone that a token is for in a hint.
func askedZone(zones []string) string {
	if len(zones) == 1 && shownName(zones[0]) == zones[0] {
		return "zone " + zones[0]
	}
	return "a zone"
}

// shownName is a name as it can stand in a command.
func shownName(name string) string {
	if name == "" || len(name) > MaxTextLen || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("'\"`$\\;&|<>()*?!#", r) }) {
		return "NAME"
	}
	return name
}

func audienceList(list []string) string {
	const shown = 4
	var words []string
	for _, a := range list[:min(len(list), shown)] {
		if len(a) > MaxTextLen {
			a = a[:MaxTextLen] + "…"
		}
		words = append(words, strings.ToValidUTF8(a, ""))
	}
	switch {
	case len(list) == 0:
		return "nobody"
	case len(list) > shown:
		words = append(words, "others")
	}
	return strings.Join(words, ", ")
}
