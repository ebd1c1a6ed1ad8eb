package apiclient

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// TestAnswersOfSomethingElse holds every call against JSON that is not a node's:
// each must fail, not show a node that holds nothing.
func TestAnswersOfSomethingElse(t *testing.T) {
	calls := map[string]func(context.Context, *Global) error{
		"global secrets": func(ctx context.Context, g *Global) error { _, err := g.GlobalSecrets(ctx); return err },
		"global secret":  func(ctx context.Context, g *Global) error { _, err := g.GlobalSecret(ctx, "x"); return err },
		"secrets":        func(ctx context.Context, g *Global) error { _, err := g.Secrets(ctx, "default"); return err },
		"meshes":         func(ctx context.Context, g *Global) error { _, err := g.Meshes(ctx); return err },
		"zones":          func(ctx context.Context, g *Global) error { _, err := g.Zones(ctx); return err },
		"zone states":    func(ctx context.Context, g *Global) error { _, err := g.ZoneStates(ctx); return err },
		"keys":           func(ctx context.Context, g *Global) error { _, err := g.Keys(ctx); return err },
		"holding":        func(ctx context.Context, g *Global) error { _, err := g.Holding(ctx, "zone", "", "1"); return err },
		"prepare": func(ctx context.Context, g *Global) error {
			_, err := g.PrepareKey(ctx, apitypes.KeyPrepareRequest{})
			return err
		},
		"activate": func(ctx context.Context, g *Global) error {
			_, err := g.ActivateKey(ctx, apitypes.KeyStepRequest{})
			return err
		},
		"remove": func(ctx context.Context, g *Global) error {
			_, err := g.RemoveKey(ctx, apitypes.KeyStepRequest{})
			return err
		},
		"revoke": func(ctx context.Context, g *Global) error {
			_, err := g.Revoke(ctx, apitypes.RevokeRequest{})
			return err
		},
		"zone status": func(ctx context.Context, g *Global) error { _, err := (&Zone{g.c}).Status(ctx); return err },
		"authenticate": func(ctx context.Context, g *Global) error {
			_, err := (&Proxies{g.c}).Authenticate(ctx, apitypes.AuthenticateRequest{})
			return err
		},
	}
	for _, body := range []string{`{}`, `{"total":1,"items":[{}]}`, `{"items":null}`, `{"status":"ok","node":"n1","clusterId":"c"}`} {
		g := global(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
		for name, call := range calls {
			err := call(t.Context(), g)
			if e := federation.AsError(err); e == nil || !strings.Contains(e.Detail, "its answer has no") || e.Hint == "" {
				t.Errorf("%s: %s: %+v", body, name, e)
			}
		}
	}
}

func TestHealthOfTheRightNode(t *testing.T) {
	other := func(name string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if name != "" {
				w.Header().Set(apitypes.HeaderService, name)
			}
			io.WriteString(w, "ok\n")
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	for _, tt := range []struct{ name, node, address, says string }{
		{"a zone itself", "zone", other("zone"), ""},
		{"a global itself", "global", other("global"), ""},
		{"a global for a zone", "zone", other("global"), "is a global, not a zone"},
		{"a zone for a global", "global", other("zone"), "is a zone, not a global"},
		{"anything else", "zone", other(""), "does not say that it is a zone"},
		{"a name that is none of ours", "zone", other("nginx"), "does not say that it is a zone"},
	} {
		err := Health(t.Context(), Target{Service: Diagnostics(tt.node), Address: tt.address}, "test")
		e := federation.AsError(err)
		if tt.says == "" && e != nil || tt.says != "" && (e == nil || !strings.Contains(e.Detail, tt.says) || !strings.Contains(e.Hint, "--diagnostics-addr")) {
			t.Errorf("%s: %+v, want %q", tt.name, e, tt.says)
		}
	}
}
