package agent

import (
	"context"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// RunADS asks for the bootstrap and then speaks ADS, until ctx ends or the zone
// refuses for good. It prints what the proxy is given.
func (a *Agent) RunADS(ctx context.Context) error {
	config, err := a.bootstrap(ctx, nil)
	if err != nil {
		return ended(ctx, err)
	}
	node, err := nodeOf(config)
	if err != nil {
		return err
	}
	if err := a.cfg.Output.Bootstrap(config); err != nil {
		return err
	}
	s, err := a.connect(ctx, node)
	for err == nil {
		s, err = a.attend(ctx, s, node)
	}
	return ended(ctx, err)
}

// ended is nil where it was the caller who ended it.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// connect opens a stream on which the zone answers.
func (a *Agent) connect(ctx context.Context, node *core.Node) (s *stream, err error) {
	err = a.insist(ctx, "connecting to the zone", func(ctx context.Context, address, token string) error {
		s = a.open(ctx, address, token, node)
		return a.answered(ctx, s)
	})
	if err != nil {
		return nil, err
	}
	a.cfg.Logger.Info("connected to the zone", "address", s.address, "node", node.GetId())
	return s, nil
}

// answered waits until the zone has answered on a stream, and closes it where the
// zone does not.
func (a *Agent) answered(ctx context.Context, s *stream) error {
	timer := time.NewTimer(a.callTimeout)
	defer timer.Stop()
	select {
	case <-s.answered:
		return nil
	case <-s.done:
		return s.err
	case <-ctx.Done():
		s.close()
		return ctx.Err()
	case <-timer.C:
		s.close()
		return unreachable(s.address, context.DeadlineExceeded)
	}
}

// attend waits beside a stream until it ends, or another has taken its place, and
// returns the one that goes on.
func (a *Agent) attend(ctx context.Context, s *stream, node *core.Node) (*stream, error) {
	ticker := time.NewTicker(a.lookEvery)
	defer ticker.Stop()
	refused := "" // a new token that the zone does not take
	for {
		select {
		case <-ctx.Done():
			s.close()
			return nil, ctx.Err()
		case <-s.done:
			a.cfg.Logger.Warn("the stream from the zone ended", "address", s.address, "reason", reasonOf(s.err), "error", s.err.Error())
			// Whether that was the last word the zone says to who asks again.
			return a.connect(ctx, node)
		case <-ticker.C:
			if a.tls != nil {
				a.tls.Check() // it ends a stream from a zone of a CA that is gone
			}
			token, err := a.token()
			if err != nil || token == s.token || token == refused {
				continue
			}
			next := a.open(ctx, s.address, token, node)
			if err := a.answered(ctx, next); err != nil {
				if isFinal(err) {
					refused = token
				}
				a.cfg.Logger.Warn("the zone does not take the new token, the stream of the former goes on",
					"address", s.address, "reason", reasonOf(err), "error", err.Error())
				continue
			}
			a.cfg.Logger.Info("connected with the new token", "address", s.address)
			s.close()
			return next, nil
		}
	}
}
