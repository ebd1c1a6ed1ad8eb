package preauth

import (
	"log/slog"
	"time"

	"github.com/meridiankds/meridian/internal/clock"
)

// start has the deadline run.
func (c *Conn) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil || c.proved.Load() {
		return
	}
	c.since = time.Now()
	if c.timer == nil {
		c.timer = time.AfterFunc(c.left, c.late)
		return
	}
	c.timer.Reset(c.left)
}

// pause stops it: the caller is not to blame for what it waits for.
func (c *Conn) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil && c.timer.Stop() {
		c.left -= clock.Since(c.since)
	}
}

// renew begins it anew.
func (c *Conn) renew() {
	c.pause()
	c.mu.Lock()
	c.left = c.budget.cfg.Deadline
	c.mu.Unlock()
	c.start()
}

// late closes a connection whose caller did not prove who they are in time.
func (c *Conn) late() {
	if c.proved.Load() {
		return
	}
	b := c.budget
	b.mu.Lock()
	c.port.Late++
	b.mu.Unlock()
	// First, because the address may be what the connection is silent about.
	_ = c.Close()
	b.lines.Log(c.ctx, b.cfg.Logger, slog.LevelInfo, "a caller did not prove who they are in time",
		slog.String("server", c.port.name), slog.String("remote", c.RemoteAddr().String()))
}

// The deadlines that servers set for the time of the handshake would cut who waits for
// the processor: until it is answered only this package's own counts.

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.deadline(t, c.Conn.SetDeadline) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.deadline(t, c.Conn.SetReadDeadline) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.deadline(t, c.Conn.SetWriteDeadline) }

func (c *Conn) deadline(t time.Time, set func(time.Time) error) error {
	c.mu.Lock()
	shaking := c.shaking
	c.mu.Unlock()
	if shaking && !t.IsZero() && clock.Running(t, time.Now()) {
		return nil
	}
	return set(t)
}
