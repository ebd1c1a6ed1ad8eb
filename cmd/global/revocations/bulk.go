package revocations

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// revokeFile sends a file of ids, of any length, as one change.
func revokeFile(c *cli.Context, format console.Format) error {
	kind, mesh, err := kindOfIDs(c)
	if err != nil {
		return err
	}
	in, size, err := openIDs(c, c.String("ids-file"))
	if err != nil {
		return err
	}
	defer in.Close()
	g, err := client.ConnectAs(c, c.String("user-token-file"))
	if err != nil {
		return err
	}
	bulk := apiclient.Bulk{
		Kind: string(kind), Mesh: mesh, Reason: c.String("reason"), Withdraw: c.Bool("withdraw"), Compare: !c.Bool("exactly"),
		IDs: &apiclient.Upload{From: in, Size: size},
	}
	result, err := sendBulk(c.Context, console.VoiceOf(c.App), g, bulk)
	if err != nil {
		return err
	}
	err = console.Print(c.App.Writer, format, result, func() io.WriterTo {
		verb, n, no := "revoked", result.Revoked, "already revoked before"
		if bulk.Withdraw {
			verb, n, no = "withdrew the revocation of", result.Withdrawn, "not revoked"
		}
		text := fmt.Sprintf("%s %s at revision %s", verb, ofKind(n, result.Kind, result.Mesh), result.Revision)
		if rest := result.Given - n; rest > 0 {
			text += fmt.Sprintf(" (%d %s, or named twice)", rest, no)
		}
		return console.Sentence(text + unknown(result.Compared, result.Given))
	})
	if err != nil {
		return err
	}
	tellUnknown(console.VoiceOf(c.App), result.Kind, result.Mesh, result.Compared)
	if bulk.Withdraw {
		return awaitZones(c, g, result.Revision, result.InForce)
	}
	return inForce(c, g, result.Revision, result.InForce, scope{result.Kind, result.Mesh, result.Unheeding, result.Warnings})
}

// openIDs opens the file of ids, or standard input, and says how long it is.
func openIDs(c *cli.Context, name string) (*os.File, int64, error) {
	if name == "-" {
		return client.Spool(c.App.Reader)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, federation.Errorf(federation.Invalid, "reading ids: %w", err).
			WithHint("name a file with the ids (claim jti), one a line or separated by commas")
	}
	info, err := f.Stat()
	switch {
	case err != nil || !info.Mode().IsRegular():
		defer f.Close()
		return client.Spool(f) // a pipe, which has an end all the same
	case info.Size() == 0:
		f.Close()
		return nil, 0, federation.Errorf(federation.Invalid, "%s is empty", name)
	}
	return f, info.Size(), nil
}

// quietFor is how long nothing is said of a list on its way: most are through by then.
const quietFor = time.Second

// sendBulk sends the list and shows how far it is.
func sendBulk(ctx context.Context, voice *console.Voice, g *apiclient.Global, b apiclient.Bulk) (result apitypes.RevokeResult, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	var sendErr error
	go func() {
		defer close(done)
		result, sendErr = g.RevokeBulk(ctx, b)
	}()
	late, shown := time.After(quietFor), false
	_, err = voice.Wait(ctx, console.Poll{Every: 100 * time.Millisecond, For: time.Hour, Check: func(context.Context) (bool, string, error) {
		select {
		case <-done:
			return true, "", nil
		case <-late:
			shown = true
		default:
		}
		if !shown {
			return false, "", nil
		}
		return false, progressOf(voice, b.IDs.Sent.Load(), b.IDs.Size), nil
	}})
	cancel()
	<-done
	if sendErr != nil {
		return result, sendErr
	}
	return result, err
}

// progressOf says how much of a list is on its way.
func progressOf(voice *console.Voice, sent, size int64) string {
	if sent < size {
		return voice.Bar(int(sent>>10), int(size>>10)) + fmt.Sprintf("sent %s of %s", amount(sent), amount(size))
	}
	return fmt.Sprintf("all %s are sent, the global replicates them", amount(size))
}

// amount is a number of bytes in a unit that shows it.
func amount(bytes int64) string {
	switch {
	case bytes < 1e3:
		return console.Counted(int(bytes), "byte", "bytes")
	case bytes < 1e6:
		return fmt.Sprintf("%.1f kB", float64(bytes)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
}

// cutOff refuses what was issued before a time, or takes that back.
func cutOff(c *cli.Context, format console.Format) error {
	kind, mesh, err := kindOfIDs(c)
	if err != nil {
		return err
	}
	request := apitypes.CutOffRequest{Kind: string(kind), Mesh: mesh, KID: c.String("kid")}
	what := "every " + ofKind(1, request.Kind, mesh)[2:]
	if request.KID != "" {
		what += " of key " + request.KID
	}
	if !c.Bool("withdraw") {
		if request.Before, err = cutOffTime(c.String("before")); err != nil {
			return err
		}
		request.Reason = c.String("reason")
		if err := console.Agree(c, fmt.Sprintf("refuse %s issued before %s", what, request.Before)); err != nil {
			return err
		}
	}
	g, err := client.ConnectAs(c, c.String("user-token-file"))
	if err != nil {
		return err
	}
	send := g.CutOff
	if c.Bool("withdraw") {
		send = g.WithdrawCutOff
	}
	result, err := send(c.Context, request)
	if err != nil {
		return err
	}
	err = console.Print(c.App.Writer, format, result, func() io.WriterTo {
		switch {
		case result.Before == nil:
			return console.Sentence(fmt.Sprintf("the cut-off of %s is withdrawn at revision %s", what, result.Revision))
		case !result.Changed:
			return console.Sentence(fmt.Sprintf("%s issued before %s was refused already", what, result.Before.Format(time.RFC3339)))
		}
		return console.Sentence(fmt.Sprintf("%s issued before %s is refused from revision %s on", what, result.Before.Format(time.RFC3339), result.Revision))
	})
	if err != nil {
		return err
	}
	where := apitypes.AtGlobal
	if kind.AtZones() {
		where = apitypes.AtZones
	}
	if result.Before == nil {
		return awaitZones(c, g, result.Revision, where)
	}
	return inForce(c, g, result.Revision, where, scope{result.Kind, result.Mesh, result.Unheeding, nil})
}

// cutOffTime reads the time of a cut-off. What now is the global says: the latest clock
// among its members', which this machine's may be behind.
func cutOffTime(text string) (string, error) {
	if text == apitypes.CutOffNow {
		return text, nil
	}
	before, err := console.PointInTime("--before", text, time.Now())
	if err != nil {
		return "", err
	}
	// What was issued earlier in this second goes too.
	return before.Add(time.Second - time.Nanosecond).Truncate(time.Second).UTC().Format(time.RFC3339), nil
}

// withdrawIDs takes ids off the list.
func withdrawIDs(c *cli.Context, format console.Format, ids []string) error {
	kind, mesh, err := kindOfIDs(c)
	if err != nil {
		return err
	}
	g, err := client.ConnectAs(c, c.String("user-token-file"))
	if err != nil {
		return err
	}
	if len(ids) <= lookedUp && !c.Bool("exactly") {
		if err := partsOf(c, g, string(kind), mesh, ids); err != nil {
			return err
		}
	}
	result, err := g.Withdraw(c.Context, apitypes.WithdrawRequest{Kind: string(kind), Mesh: mesh, IDs: ids})
	if err != nil {
		return err
	}
	err = console.Print(c.App.Writer, format, result, func() io.WriterTo {
		text := fmt.Sprintf("withdrew the revocation of %s at revision %s", ofKind(result.Withdrawn, result.Kind, result.Mesh), result.Revision)
		if rest := len(ids) - result.Withdrawn; rest > 0 {
			text += fmt.Sprintf(" (%d not revoked, or named twice)", rest)
		}
		return console.Sentence(text)
	})
	if err != nil {
		return err
	}
	return awaitZones(c, g, result.Revision, result.InForce)
}

// lookedUp is how many ids are looked up one by one.
const lookedUp = 50

// partsOf is the error for an id that is not revoked itself, but is the beginning of one
// that is: to withdraw it would change nothing. It warns of those that are not known at all,
// which may be withdrawn for zones that know more than this global.
func partsOf(c *cli.Context, g *apiclient.Global, kind, mesh string, ids []string) error {
	for _, id := range ids {
		found, _, _, err := g.Revocations(c.Context, apiclient.RevocationQuery{Kind: kind, Mesh: mesh, ID: id, Limit: 1})
		if err != nil {
			return err
		}
		switch {
		case len(found) > 0 && found[0].ID == id:
		case len(found) > 0 && strings.HasPrefix(found[0].ID, id):
			return federation.Errorf(federation.NotFound, "no %s with the id %.80q is revoked, and nothing was withdrawn", ofKind(1, kind, mesh)[2:], id).
				WithHint("did you mean %s?", found[0].ID)
		default:
			console.VoiceOf(c.App).Warn("no %s with the id %s is revoked here", ofKind(1, kind, mesh)[2:], id)
		}
	}
	return nil
}

// ofKind counts tokens of a kind: "2 zone-tokens", "1 dataplane-token of mesh m".
func ofKind(n int, kind, mesh string) string {
	name := client.TokenName(kind)
	text := console.Counted(n, name, name+"s")
	if mesh != "" {
		text += " of mesh " + mesh
	}
	return text
}
