package apiclient

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/adminapi/apitypes"
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
		case a.status == http.StatusServiceUnavailable:
			return c.unwell(a, question.no)
		case a.status != http.StatusOK:
			return c.notOurs(federation.Errorf(federation.Internal, "%s answered /%s with status %d", t, question.path, a.status))
		}
	}
	return nil
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
