package revocations

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cptoken"
	console "github.com/meridiankds/meridian/internal/cli"
)

// TestAmounts: a small list is not "0.0 of 0.0 MB".
func TestAmounts(t *testing.T) {
	voice := console.VoiceOf(console.New("global", "test", "v0", console.IO{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}))
	for want, p := range map[string][2]int64{
		"sent 0 bytes of 1 byte":                            {0, 1},
		"sent 36 bytes of 37.0 kB":                          {36, 37_000},
		"sent 1.5 MB of 37.0 MB":                            {1_500_000, 37_000_000},
		"all 37 bytes are sent, the global replicates them": {37, 37},
		"all 36.0 MB are sent, the global replicates them":  {36_000_000, 36_000_000},
		"all 999.0 kB are sent, the global replicates them": {999_000, 999_000},
	} {
		if got := progressOf(voice, p[0], p[1]); got != want {
			t.Errorf("%d of %d: %q, want %q", p[0], p[1], got, want)
		}
	}
}

func TestRevocationsAreSentInPieces(t *testing.T) {
	ids := make([]string, 2*idsPerRequest+1)
	for i := range ids {
		ids[i] = strings.Repeat("x", 8)
	}
	var sent []int
	app := console.New("global", "test", "v0", console.IO{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}})
	command := Revoke()
	command.Action = func(c *cli.Context) error {
		requests, err := revocations(c)
		for _, r := range requests {
			sent = append(sent, len(r.IDs))
		}
		return err
	}
	app.Commands = []*cli.Command{command}
	args := append([]string{"global", "revoke", "--kind", "zone-token"}, ids...)
	if code := console.Run(context.Background(), app, args); code != 0 || len(sent) != 3 || sent[2] != 1 {
		t.Errorf("exit %d, requests of %v ids", code, sent)
	}
	long := strings.Repeat("y", cptoken.MaxIDLen+1)
	var errs strings.Builder
	app = console.New("global", "test", "v0", console.IO{Out: &bytes.Buffer{}, Err: &errs})
	app.Commands = []*cli.Command{Revoke()}
	if code := console.Run(context.Background(), app, []string{"global", "revoke", "--kind", "zone-token", long}); code != console.ExitUsage || strings.Contains(errs.String(), long) {
		t.Errorf("an id of %d characters: exit %d, %s", len(long), code, errs.String())
	}
}
