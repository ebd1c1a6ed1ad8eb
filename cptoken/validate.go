package cptoken

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/meridiankds/meridian/federation"
)

// Bounds on what a token may be issued for. A token within them has less than
// MaxTokenBytes unless many are reached at once, which issuing checks.
const (
	MaxTextLen   = 253 // bytes of a proxy's or user's name, a group, a tag or its value
	MaxGroups    = 64
	MaxTags      = 32
	MaxTagValues = 64 // of one tag
)

// Validate checks claims that a token is to be issued for: what the kind requires
// is there, what it does not have is not, and all is well formed. The registered
// claims are not looked at, issuing sets them. The error is a federation.Error
// (Invalid) that names the field as the HTTP API spells it.
func (c *Claims) Validate() error {
	if err := c.validateForeign(); err != nil {
		return err
	}
	switch c.Kind {
	case ControlPlane:
		return federation.ValidateName("zone", c.Zone)
	case Zone:
		if err := federation.ValidateName("zone", c.Zone); err != nil {
			return err
		}
		return validateScopes(c.Scope)
	case Dataplane:
		return c.validateDataplane()
	case User:
		return c.validateUser()
	}
	return federation.InvalidField("kind", "%.40q is not a kind of token", c.Kind)
}

// validateForeign refuses claims that tokens of this kind do not have: they would
// be dropped, and the one who asked would believe them bound.
func (c *Claims) validateForeign() error {
	own := c.Kind.own()
	for _, f := range []struct {
		claim claimSet
		set   bool
		field string
	}{
		{hasZone, c.Zone != "", "zone"},
		{hasSerial, c.TokenSerialNumber != 0, "tokenSerialNumber"},
		{hasScope, len(c.Scope) > 0, "scope"},
		{hasName, c.Name != "", "name"},
		{hasMesh, c.Mesh != "", "mesh"},
		{hasTags, len(c.Tags) > 0, "tags"},
		{hasType, c.Type != "", "type"},
		{hasWorkload, c.Workload != "", "workload"},
		{hasGroups, len(c.Groups) > 0, "groups"},
		{hasAudience, len(c.Audience) > 0, "forZone"},
	} {
		if f.set && own&f.claim == 0 && c.Kind.Valid() {
			return federation.InvalidField(f.field, "a %s has none", c.Kind.TokenName())
		}
	}
	return nil
}

func validateScopes(scopes []Scope) error {
	for i, s := range scopes {
		field := fmt.Sprintf("scope[%d]", i)
		if !s.Valid() {
			return federation.InvalidField(field, "%.40q is not a scope: use ingress, egress, dataplane or cp", s)
		}
		if slices.Contains(scopes[:i], s) {
			return federation.InvalidField(field, "%s stands twice", s)
		}
	}
	if len(scopes) > 1 && slices.Contains(scopes, ScopeCP) {
		return federation.InvalidField("scope", "cp must stand alone: a proxy's token must not speak for its zone")
	}
	return nil
}

func (c *Claims) validateDataplane() error {
	if err := federation.ValidateName("mesh", c.Mesh); err != nil {
		return err
	}
	if c.Name != "" {
		if err := validatePrintable("name", c.Name); err != nil {
			return err
		}
	}
	if c.Workload != "" {
		if err := validatePrintable("workload", c.Workload); err != nil {
			return err
		}
	}
	switch c.Type {
	case "", TypeDataplane:
	case TypeIngress, TypeEgress:
		return federation.InvalidField("type", "no zone would accept it: an %s belongs to no mesh, and proves itself with a zone token", c.Type).
			WithHint("issue one with: global generate zone-token --zone ZONE --scope %s", c.Type)
	default:
		return federation.InvalidField("type", "%.40q is not a type of proxy that has dataplane tokens: use dataplane", c.Type)
	}
	return validateTags(c.Tags)
}

func validateTags(tags map[string][]string) error {
	if len(tags) > MaxTags {
		return federation.InvalidField("tags", "has %d tags, at most %d are allowed", len(tags), MaxTags)
	}
	names := make([]string, 0, len(tags))
	for name := range tags {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := validateText("tags", name); err != nil {
			return err
		}
		field, values := "tags."+name, tags[name]
		switch {
		case len(values) == 0:
			return federation.InvalidField(field, "must have a value: no proxy could match it")
		case len(values) > MaxTagValues:
			return federation.InvalidField(field, "has %d values, at most %d are allowed", len(values), MaxTagValues)
		}
		for _, v := range values {
			if err := validatePrintable(field, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Claims) validateUser() error {
	if err := validateText("name", c.Name); err != nil {
		return err
	}
	if len(c.Groups) > MaxGroups {
		return federation.InvalidField("groups", "has %d groups, at most %d are allowed", len(c.Groups), MaxGroups)
	}
	for i, g := range c.Groups {
		if err := validateText(fmt.Sprintf("groups[%d]", i), g); err != nil {
			return err
		}
	}
	if len(c.Audience) > MaxGroups {
		return federation.InvalidField("forZone", "has %d zones, at most %d are allowed", len(c.Audience), MaxGroups)
	}
	for i, a := range c.Audience {
		field := fmt.Sprintf("forZone[%d]", i)
		zone, ok := strings.CutPrefix(a, zoneAudience)
		if !ok {
			return federation.InvalidField(field, "%.80q is no zone's audience", a)
		}
		if err := federation.ValidateName(field, zone); err != nil {
			return err
		}
		if slices.Contains(c.Audience[:i], a) {
			return federation.InvalidField(field, "%s stands twice", zone)
		}
	}
	return nil
}

// validatePrintable checks a text that zones hand on in a header: printable ASCII, and no
// comma, which would make two values of it.
func validatePrintable(field, s string) error {
	if err := validateText(field, s); err != nil {
		return err
	}
	if strings.ContainsFunc(s, func(c rune) bool { return c > '~' }) {
		return federation.InvalidField(field, "%.80q has characters that a header cannot carry: use printable ASCII", s)
	}
	if strings.Contains(s, ",") {
		return federation.InvalidField(field, "%.80q has a comma, and would read as two values", s)
	}
	return nil
}

// validateText checks a name that Meridian only compares: it belongs to others,
// so any printable text will do, if no two that look alike can differ in blanks.
func validateText(field, s string) error {
	switch {
	case s == "":
		return federation.InvalidField(field, "must not be empty")
	case len(s) > MaxTextLen:
		return federation.InvalidField(field, "must have at most %d bytes, has %d", MaxTextLen, len(s))
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return federation.InvalidField(field, "%.80q has characters that cannot be printed", s)
	case strings.TrimSpace(s) != s:
		return federation.InvalidField(field, "%.80q begins or ends with a blank", s)
	}
	return nil
}
