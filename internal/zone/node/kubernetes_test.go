package node

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/test/kube"
	"github.com/meridiankds/meridian/internal/test/tempdir"
)

// TestServiceAccountTokens plays proxies of a Kubernetes cluster against a zone
// that has never met its global: an API server vouches for them.
func TestServiceAccountTokens(t *testing.T) {
	dir := tempdir.Short(t)
	api := kube.NewAPI("the-zones-own")
	server, err := api.Serve(dir, "the-zones-own")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	cfg := config(filepath.Join(dir, "zone"))
	cfg.Authn.Auth.Type = keyring.ServiceAccountToken
	cfg.Authn.Authn.ServiceAccountToken = keyring.AccountSettings{Audience: "meridian-zone", Kubeconfig: filepath.Join(dir, "kubeconfig"),
		ServiceAccounts: []keyring.AccountEntry{{Account: "mesh/egress", ProxyTypes: []string{"egress"}}}}
	if err := cfg.Authn.Complete(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	end := start(t, cfg)
	defer func() { end() }()
	target, err := apiclient.Resolve(apiclient.ProxyPort(), apiclient.Flags{DataDir: cfg.DataDir}, func(string) string { return "" }, nil)
	if err != nil {
		t.Fatal(err)
	}
	proxies, err := apiclient.NewProxies(target, "zone/test")
	if err != nil {
		t.Fatal(err)
	}
	token := func(namespace, account, pod, audience string) string {
		return api.Token(kube.Account{Namespace: namespace, Name: account, Pod: pod, Audience: audience, Expires: time.Now().Add(time.Hour)})
	}
	good := token("shop", "backend", "backend-1", "meridian-zone")
	for name, tt := range map[string]struct {
		request apitypes.AuthenticateRequest
		reason  string
	}{
		"a data plane proxy": {apitypes.AuthenticateRequest{ProxyType: "dataplane", Mesh: "default", Name: "backend-1.shop", Token: good}, ""},
		"a zone egress":      {apitypes.AuthenticateRequest{ProxyType: "egress", Name: "egress-1.mesh", Token: token("mesh", "egress", "egress-1", "meridian-zone") + "\n"}, ""},
		"an egress unnamed":  {apitypes.AuthenticateRequest{ProxyType: "egress", Name: "backend-1.shop", Token: good}, "wrong_type"},
		"an ingress":         {apitypes.AuthenticateRequest{ProxyType: "ingress", Name: "egress-1.mesh", Token: token("mesh", "egress", "egress-1", "meridian-zone")}, "wrong_type"},
		"another's service":  {apitypes.AuthenticateRequest{ProxyType: "dataplane", Mesh: "default", Name: "backend-1.shop", Token: good, Tags: map[string][]string{"kuma.io/service": {"payments"}}}, "tag_mismatch"},
		"its own service":    {apitypes.AuthenticateRequest{ProxyType: "dataplane", Mesh: "default", Name: "backend-1.shop", Token: good, Tags: map[string][]string{"kuma.io/service": {"backend_shop_svc_80"}}}, ""},
		"an unbound token":   {apitypes.AuthenticateRequest{ProxyType: "dataplane", Mesh: "default", Name: "backend-1.shop", Token: token("shop", "backend", "", "meridian-zone")}, "unbound_token"},
		"another audience":   {apitypes.AuthenticateRequest{ProxyType: "egress", Name: "egress-1.mesh", Token: token("mesh", "egress", "egress-1", "vault")}, "wrong_audience"},
		"another namespace":  {apitypes.AuthenticateRequest{ProxyType: "dataplane", Mesh: "default", Name: "backend-1.bank", Token: good}, "wrong_namespace"},
		"another pod":        {apitypes.AuthenticateRequest{ProxyType: "dataplane", Mesh: "default", Name: "backend-2.shop", Token: good}, "wrong_name"},
		"no token of pods":   {apitypes.AuthenticateRequest{ProxyType: "dataplane", Mesh: "default", Name: "backend-1.shop", Token: good[:len(good)-4] + "AAAA"}, "not_authenticated"},
	} {
		id, err := proxies.Authenticate(t.Context(), tt.request)
		reason := ""
		if err != nil {
			reason = federation.AsError(err).Reason
		}
		if reason != tt.reason || (err == nil) != (tt.reason == "") {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (id.ID == "" || strings.Contains(id.ID, "=")) {
			t.Errorf("%s: the token is named %q", name, id.ID)
		}
	}
	server.Close()
	_, err = proxies.Authenticate(t.Context(), apitypes.AuthenticateRequest{ProxyType: "egress", Name: "egress-2.mesh", Token: token("mesh", "egress", "egress-2", "meridian-zone")})
	if e := federation.AsError(err); e.Code != federation.Unavailable || e.Reason != "review_unavailable" {
		t.Errorf("with the API server away: %+v", e)
	}
	if _, err := proxies.Authenticate(t.Context(), apitypes.AuthenticateRequest{ProxyType: "dataplane", Mesh: "default", Name: "backend-1.shop", Token: good}); err != nil {
		t.Errorf("what was reviewed a moment ago: %v", err)
	}
	end()
	end = func() {}
	if !strings.Contains(log.String(), "cannot review service account tokens") || strings.Contains(log.String(), good) || strings.Contains(log.String(), "the-zones-own") {
		t.Errorf("log: %s", &log)
	}
}

func TestServiceAccountTokensNeedAnAudience(t *testing.T) {
	var s keyring.Settings
	s.Authn.DPProxy.Type = keyring.ServiceAccountToken
	if err := s.Complete(); err == nil || !strings.Contains(err.Error(), "dpServer.authn.serviceAccountToken.audience") {
		t.Errorf("got %v", err)
	}
}
