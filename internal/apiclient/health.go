package apiclient

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// Health asks the health port of a node. It returns nil where the node lives and
// does its work, and otherwise an error that says which of the two it does not.
func Health(ctx context.Context, t Target, agent string) error {
	c, err := newClient(t, agent)
	if err != nil {
		return err
	}
	for _, question := range []struct{ path, no string }{
		{"healthy", "is not healthy"},
		{"ready", "is not ready"},
	} {
		a, err := c.send(ctx, call{method: http.MethodGet, path: []string{question.path}})
		switch {
		case err != nil:
			return err
		case c.otherService(a) != nil:
			return c.otherService(a)
		case a.status != http.StatusOK && a.status != http.StatusServiceUnavailable:
			return c.notOurs(federation.Errorf(federation.Internal, "%s answered /%s with status %d", t, question.path, a.status))
		}
		if err := c.rightService(a); err != nil {
			return err
		}
		if a.status != http.StatusOK {
			return c.unwell(a, question.no)
		}
	}
	return nil
}

// rightService returns an error unless the answer says that it is of the node that
// was to be asked: a global and a zone on one host have the same default port.
func (c *client) rightService(a answer) error {
	if err := c.otherService(a); err != nil || a.header.Get(apitypes.HeaderService) == c.node() {
		return err
	}
	return c.notOurs(federation.Errorf(federation.Internal, "what answers at %s does not say that it is a %s", c.target, c.node()))
}

// otherService is the error of an answer that says that it is of the other program; nil of
// any other.
func (c *client) otherService(a answer) error {
	said := a.header.Get(apitypes.HeaderService)
	if said == c.node() || said != "global" && said != "zone" {
		return nil
	}
	if dir := c.target.Folder; dir != "" {
		return federation.Errorf(federation.NotFound, "no %s runs in %s any more: at %s, where it was, answers a %s", c.node(), dir, c.target, said).
			WithHint("start it there, or name the %s's address with %s", c.node(), c.target.Service.AddressFlag)
	}
	return federation.Errorf(federation.Invalid, "what answers at %s is a %s, not a %s", c.target, said, c.node()).
		WithHint("name the %s's port with %s, or its directory with --data-dir", c.node(), c.target.Service.AddressFlag)
}

// unwell is the error for a node that says of itself that it cannot work, with
// its own words for why where it has any.
func (c *client) unwell(a answer, no string) error {
	e := federation.Errorf(federation.Unavailable, "the %s at %s %s", c.node(), c.target, no).
		WithHint("its log says what it waits for")
	var body apitypes.Error
	if err := json.Unmarshal(a.data, &body); err != nil || body.Detail == "" {
		return e
	}
	e.Detail += ": " + body.Detail
	e.Reason, e.Hint = body.Reason, first(body.Hint, e.Hint)
	return e
}
