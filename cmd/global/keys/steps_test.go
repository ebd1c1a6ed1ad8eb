package keys

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// TestActivationWaits: it is tried again while somebody lacks the key, and no other refusal
// is.
func TestActivationWaits(t *testing.T) {
	for _, tt := range []struct {
		wait          time.Duration
		reason        string
		refusals      int
		asked, notice int
	}{
		{0, "not_held", 9, 1, 1},
		{time.Minute, "not_held", 2, 3, 0},
		{time.Minute, "not_prepared", 9, 1, 1},
	} {
		asked := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if asked++; asked <= tt.refusals {
				w.WriteHeader(http.StatusConflict)
				_, _ = io.WriteString(w, `{"title":"Conflict","detail":"n2 lacks it","reason":"`+tt.reason+`"}`)
				return
			}
			_, _ = io.WriteString(w, `{"key":{"kind":"zone","kid":"2","state":"active"}}`)
		}))
		defer server.Close()
		g, err := apiclient.NewGlobal(apiclient.Target{Service: apiclient.API("global"), Address: server.URL}, "test")
		if err != nil {
			t.Fatal(err)
		}
		voice := console.VoiceOf(&cli.App{Name: "global", Writer: io.Discard, ErrWriter: io.Discard})
		change, err := activateWithin(voice, tt.wait)(g, t.Context(), apitypes.KeyStepRequest{Kind: "zone", KID: "2"})
		refused := federation.AsError(err) != nil && federation.AsError(err).Reason == tt.reason
		if asked != tt.asked || refused != (tt.notice == 1) || !refused && change.Key.State != "active" {
			t.Errorf("%+v: asked %d times: %+v %v", tt, asked, change, err)
		}
	}
}
