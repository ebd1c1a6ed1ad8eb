package client

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
	"github.com/meridiankds/meridian/kds/wire"
)

// DataplaneToken passes a user's request on to the member that this zone is
// connected to. An error is what the global says to the user, or Unavailable where
// it could not be asked: then nothing was issued that anybody has.
func (c *Client) DataplaneToken(ctx context.Context, r kds.TokenRequest) (kds.IssuedToken, error) {
	l := c.inUse()
	if l == nil {
		return kds.IssuedToken{}, c.away(nil)
	}
	issued, err := l.dataplaneToken(ctx, r)
	if err == nil || ctx.Err() != nil {
		return issued, err
	}
	if next := c.inUse(); next != nil && next != l && federation.AsError(err).Reason == kds.ReasonGlobalAway {
		return next.dataplaneToken(ctx, r) // a new token or member took over meanwhile
	}
	return issued, err
}

func (l *link) dataplaneToken(ctx context.Context, r kds.TokenRequest) (kds.IssuedToken, error) {
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(ctx, l.md), l.client.cfg.AnswerTimeout)
	defer cancel()
	var answer kdspb.DataplaneTokenResponse
	if err := l.conn.Invoke(ctx, kds.RPCDataplaneToken, wire.TokenRequestTo(r), &answer); err != nil {
		return kds.IssuedToken{}, l.client.away(err)
	}
	return wire.IssuedTokenFrom(&answer)
}

// away says that the global could not be asked, and why as far as it is known. It
// is the zone's trouble with the global, not the user's: the code is Unavailable
// whatever the status was.
func (c *Client) away(err error) error {
	e := federation.Errorf(federation.Unavailable, "this zone is not connected to the global, which issues its tokens")
	switch {
	case err == nil && c.Status().Connected && c.Status().Kind == kds.KindKuma:
		return federation.Errorf(federation.Unavailable, "the global of this zone is one of Kuma's, which issues no tokens for a zone's users").
			WithReason(kds.ReasonNoRelay).WithHint("ask that global itself")
	case status.Code(err) == codes.Unimplemented:
		return federation.Errorf(federation.Unavailable, "the global that this zone is connected to relays nothing: it is of an older version").
			WithReason(kds.ReasonNoRelay).WithHint("ask the global itself, or have it upgraded")
	case err != nil:
		e = federation.Errorf(federation.Unavailable, "the global, which issues this zone's tokens, could not be asked: %s", wire.ErrorOf(err).Error()).WithCause(err)
	default:
		if last := c.Status().LastError; last != "" {
			e = federation.Errorf(federation.Unavailable, "this zone is not connected to the global, which issues its tokens: %s", last)
		}
	}
	e = e.WithReason(kds.ReasonGlobalAway).WithHint("tokens that were issued before stay good meanwhile; zone status shows how the zone stands with the global")
	e.RetryAfter = 5 * time.Second
	return e
}

// use notes the link that requests go through; nil: there is none.
func (c *Client) use(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = l
}

func (c *Client) inUse() *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link
}
