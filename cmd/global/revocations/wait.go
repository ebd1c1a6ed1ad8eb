package revocations

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

const (
	// waitOnTerminal is how long who sits at a terminal waits for the zones.
	waitOnTerminal = 5 * time.Second
	// askZonesEvery is the pace at which the global is asked meanwhile. Members report what
	// zones acknowledged several times a second.
	askZonesEvery = 500 * time.Millisecond
)

// waitFlag is how long a command waits until the zones hold what it changed.
func waitFlag() cli.Flag {
	return &cli.DurationFlag{Name: "wait", Usage: "how `LONG` to wait until the zones hold it; 5s if it is left out on a terminal, else 0s, which asks nobody"}
}

// awaitZones waits until all zones hold a revision, and says who does. Where not all of them
// do, it ends with the exit code 3.
func awaitZones(c *cli.Context, g *apiclient.Global, revision, inForce string) error {
	voice, wait := console.VoiceOf(c.App), c.Duration("wait")
	if !c.IsSet("wait") && voice.Interactive() {
		wait = waitOnTerminal
	}
	if wait <= 0 || inForce == apitypes.AtGlobal {
		return nil
	}
	need, err := federation.ParseRevision(revision)
	if err != nil {
		return federation.Errorf(federation.Internal, "the global answered %q, which is no revision", revision)
	}
	var h holders
	all, err := voice.Wait(c.Context, console.Poll{Every: askZonesEvery, For: wait, Check: func(ctx context.Context) (bool, string, error) {
		zones, err := g.ZoneStates(ctx)
		if err != nil {
			return false, "", err
		}
		h = holdersOf(zones, need, time.Now())
		return len(h.lacking) == 0, h.String(), nil
	}})
	if err != nil {
		return console.Pending(federation.Errorf(federation.Unavailable, "it is done, and which zones hold it is not known: %w", err).
			WithHint("look with: global inspect zones"))
	}
	if !all {
		return console.Pending(federation.Errorf(federation.Unavailable, "it is done, and %s", h).
			WithHint("a zone takes it before anything else once it is back: global inspect zone %s", h.first))
	}
	voice.Say("%s", h)
	return nil
}

// holders are the zones that hold a revision, and those that do not yet.
type holders struct {
	held, zones int
	lacking     []string // each zone and why
	first       string   // the name of the first of them
}

// String says it in one line.
func (h holders) String() string {
	text := fmt.Sprintf("held by %d of %s", h.held, console.Counted(h.zones, "zone", "zones"))
	if len(h.lacking) > 0 {
		text += "; " + console.Names(h.lacking)
	}
	return text
}

// holdersOf sorts the zones that were ever connected: the others have nothing that they
// could go on accepting.
func holdersOf(zones []apitypes.ZoneState, need federation.Revision, now time.Time) (h holders) {
	for _, z := range zones {
		if z.FirstSeen == nil && z.LastSeen == nil && len(z.Sessions) == 0 {
			continue
		}
		h.zones++
		why := lacks(z, need, now)
		if why == "" {
			h.held++
			continue
		}
		if h.first == "" {
			h.first = z.Name
		}
		h.lacking = append(h.lacking, z.Name+" "+why)
	}
	return h
}

// lacks says why a zone does not hold a revision; "" where each control plane of it does.
// One that is away may still answer its proxies: it counts until it is forgotten.
func lacks(z apitypes.ZoneState, need federation.Revision, now time.Time) string {
	away := ""
	for _, s := range z.Sessions {
		at, err := federation.ParseRevision(s.Revision)
		switch {
		case err == nil && at.Covers(need):
		case !s.Online:
			away = "has a control plane that is offline, " + s.Remote
		case s.Nack != "":
			return "refuses it: " + s.Nack
		default:
			return "has not acknowledged it"
		}
	}
	switch {
	case z.Online:
		return away
	case !z.Enabled:
		return "is disabled"
	case z.LastSeen == nil:
		return "is offline since before the global started"
	}
	return "is offline since " + console.Age(now, *z.LastSeen)
}
