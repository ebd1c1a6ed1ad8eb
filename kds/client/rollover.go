package client

import (
	"context"
	"errors"
	"time"

	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/kds/wire"
)

// errSuperseded ends a link whose zone has another one that says what is true by now.
var errSuperseded = errors.New("superseded by a connection with what the zone shows now")

// retryShown is how long what was refused is not tried again, unless it is replaced: the
// member may not have heard yet of the key that signed a token.
const retryShown = 30 * time.Second

// defaultSupersede is how long the member may take to end the session that was taken
// over.
const defaultSupersede = time.Second

// shown is what a zone says of itself on a connection.
type shown struct{ token, trusts string }

// follow looks now and then at the zone's token and at the CAs that it trusts. When they
// are others than the link said, it connects with them to the same member. Only when that
// is admitted does the new link take over, so that a wrong token in the file costs
// the zone nothing but a line in its log.
func (l *link) follow(ctx context.Context, address string) {
	tick := time.NewTicker(l.client.cfg.TokenEvery)
	defer tick.Stop()
	var refused shown
	var again time.Time
	for {
		select {
		case <-tick.C:
		case <-l.ctx.Done():
			return
		}
		now := shown{trusts: l.client.trusts()}
		var err error
		if now.token, err = l.client.readToken(); err != nil {
			continue // a file that is being replaced is read at the next look
		}
		if now == (shown{l.token, l.trusts}) || now == refused && clock.Running(again, time.Now()) {
			continue
		}
		if err := l.rollOver(ctx, address); err != nil {
			if l.ctx.Err() != nil {
				return
			}
			l.client.notAdmitted(address, err)
			refused, again = now, time.Now().Add(retryShown)
			continue
		}
		return
	}
}

// rollOver opens a link that shows what is true now and hands over to it.
func (l *link) rollOver(ctx context.Context, address string) error {
	next, err := l.client.open(ctx, address)
	if err != nil {
		return err
	}
	// The old link's end ends the attempt; what took over lives on.
	stop := context.AfterFunc(l.ctx, func() { next.cancel(context.Cause(l.ctx)) })
	if err := next.admitted(); err != nil {
		stop()
		defer next.close()
		return causeOf(next.ctx, err)
	}
	l.mu.Lock()
	if !stop() {
		l.mu.Unlock()
		next.close()
		return context.Cause(l.ctx)
	}
	// From here on nothing is applied from the old stream, so that the position
	// with which the new one begins is the zone's last.
	l.next = next
	l.mu.Unlock()
	defer next.deadline().Stop()
	if err := next.subscribe(); err != nil {
		next.cancel(err) // its holder finds out and connects anew
	}
	l.client.tookOver(next.member)
	l.client.cfg.Logger.Info("connected to the global anew: the zone's token or the CAs that it trusts were replaced", "address", address, "member", next.member)
	// The member ends the old session when it has the first request of the new one,
	// so that the zone is never without; one that was not authenticated it keeps.
	select {
	case <-l.ctx.Done():
	case <-time.After(l.client.cfg.Supersede):
		l.cancel(errSuperseded)
	}
	return nil
}

// admitted opens the stream and waits for the member to admit the zone, which it
// does before it is asked for anything: the session has not begun.
func (l *link) admitted() error {
	defer l.deadline().Stop()
	if err := l.openStream(); err != nil {
		return err
	}
	return l.welcome()
}

func (c *Client) notAdmitted(address string, err error) {
	e := wire.ErrorOf(err)
	attrs := []any{"address", address, "cause", e.Error()}
	if e.Reason != "" {
		attrs = append(attrs, "reason", e.Reason)
	}
	if e.Hint != "" {
		attrs = append(attrs, "hint", e.Hint)
	}
	c.cfg.Logger.Warn("the global does not admit the zone with its new token or CAs; the connection with the former ones stays", attrs...)
}
