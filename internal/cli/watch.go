package cli

import (
	"bytes"
	"io"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
)

// watchEvery is the pace of --watch.
const watchEvery = 2 * time.Second

// shows are the verbs and nouns that only show what is there, which --watch may repeat.
var shows = []string{"zones", "zone", "status", "list", "meshes", "secrets", "global-secrets", "public-keys", "revocations", "cut-offs",
	"audit", "tokens", "proxies", "expelled", "trusted"}

// addShowing gives a command that has -o the flags that say how a table is shown, once.
func addShowing(c *cli.Command) {
	if lookup(c.Flags, "output") == nil || lookup(c.Flags, "no-headers") != nil || c.Action == nil {
		return
	}
	c.Flags = append(c.Flags,
		&cli.BoolFlag{Name: "no-headers", Usage: "leave the header of a table out"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "show the first column of a table alone"})
	if !slices.Contains(shows, c.Name) || lookup(c.Flags, "watch") != nil {
		return
	}
	c.Flags = append(c.Flags, &cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "show it again whenever it changed, until Ctrl-C"})
	show := c.Action
	c.Action = func(c *cli.Context) error {
		if !c.Bool("watch") {
			return show(c)
		}
		return watch(c, show)
	}
}

// watch shows again and again what a command shows, whenever that is not what stands there
// already. Who cannot be asked for a moment is asked again; the first answer decides whether
// the command can succeed at all.
func watch(c *cli.Context, show cli.ActionFunc) error {
	out := c.App.Writer
	defer func() { c.App.Writer = out }()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var last []byte
	for first := true; ; first = false {
		var now bytes.Buffer
		c.App.Writer = &now
		err := show(c)
		switch {
		case c.Context.Err() != nil:
			return nil
		case first && err != nil && ExitCode(err) != ExitPending:
			return err
		case !bytes.Equal(now.Bytes(), last) && now.Len() > 0:
			if err := showAgain(out, now.Bytes(), first); err != nil {
				return err
			}
			last = bytes.Clone(now.Bytes())
		case federation.CodeOf(err) == federation.Unavailable:
			VoiceOf(c.App).Warn("%v", err)
		}
		select {
		case <-tick.C:
		case <-c.Context.Done():
			return nil
		}
	}
}

// showAgain replaces what stands on a terminal; elsewhere a blank line parts the two.
func showAgain(out io.Writer, text []byte, first bool) error {
	lead := "\n"
	switch {
	case IsTerminal(out):
		lead = "\x1b[H\x1b[2J"
	case first:
		lead = ""
	}
	return Write(out, append([]byte(lead), text...))
}
