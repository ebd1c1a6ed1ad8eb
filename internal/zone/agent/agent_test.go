package agent

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(context.Background())
}

func TestADSPrintsTheConfigurationWithoutTokens(t *testing.T) {
	z := newZone(t)
	b := newBench(t, z, nil)
	end := b.start(t)
	eventually(t, "endpoints", func() bool { return strings.Contains(b.out.String(), "clusterName: backend-endpoints") })
	<-b.cfg.Output.Complete()
	eventually(t, "three acknowledgements", func() bool { z.mu.Lock(); defer z.mu.Unlock(); return len(z.acks) >= 3 })
	if err := end(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"id: default.backend-1", "value: '[token]'", "name: inbound", "statPrefix: Bearer [token]", `version: "7"`} {
		if !strings.Contains(b.out.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.out)
		}
	}
	q := z.asked[0]
	if q.Mesh != "default" || q.Name != "backend-1" || q.ProxyType != "dataplane" || q.DataplaneToken != tokenA ||
		q.DataplaneTokenPath != b.tokenFile || q.Agent != nil || !strings.Contains(q.DataplaneResource, `"name":"backend-1"`) ||
		q.Version.KumaDP.Version != "test" || !strings.HasPrefix(q.CACert, "-----BEGIN CERTIFICATE") {
		t.Errorf("asked with %+v", q)
	}
}

func TestWhatMayPassIsTriedAgain(t *testing.T) {
	z := newZone(t)
	b := newBench(t, z, nil)
	answers := []func(http.ResponseWriter){
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusConflict) },
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) },
		func(w http.ResponseWriter) {
			w.Header().Set("Location", "https://stranger.invalid/")
			w.WriteHeader(http.StatusFound)
		},
		func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") },
		func(w http.ResponseWriter) { fmt.Fprint(w, `{"bootstrap":"%"}`) },
		func(w http.ResponseWriter) { fmt.Fprint(w, strings.Repeat("x", maxBootstrap+1)) },
	}
	n := 0
	z.bootstrap = func(w http.ResponseWriter, _ bootstrapRequest) bool {
		if n++; n > len(answers) {
			return false
		}
		answers[n-1](w)
		return true
	}
	b.start(t)
	eventually(t, "a stream", func() bool { return strings.Contains(z.history(), "open A") })
	if got := strings.Count(b.log.String(), "trying again"); got != len(answers) {
		t.Errorf("%d lines say that it is tried again, want %d\n%s", got, len(answers), b.log)
	}
}

func TestRefusalsAreFinal(t *testing.T) {
	for name, tt := range map[string]struct {
		status       int
		body         string
		code         federation.Code
		reason, says string
	}{
		"of a token":                 {403, `{"title":"Forbidden","detail":"the token is for zone east","reason":"wrong_zone","hint":"issue another"}`, federation.Forbidden, "wrong_zone", "the token is for zone east"},
		"unproved":                   {401, `{"detail":"it expired","reason":"expired"}`, federation.Unauthenticated, "expired", "it expired"},
		"of a field":                 {400, `{"detail":"mesh: must not be empty"}`, federation.Invalid, "", "mesh: must not be empty"},
		"in plain":                   {422, "Resource  is\nnot valid", federation.Invalid, "", "422 Unprocessable Entity: Resource is not valid"},
		"of a token that it repeats": {401, "bad token " + tokenA, federation.Unauthenticated, "", "bad token [token]"},
	} {
		t.Run(name, func(t *testing.T) {
			z := newZone(t)
			z.bootstrap = func(w http.ResponseWriter, _ bootstrapRequest) bool {
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
				return true
			}
			b := newBench(t, z, nil)
			err := b.RunADS(t.Context())
			e := federation.AsError(err)
			if e == nil || e.Code != tt.code || e.Reason != tt.reason || !strings.Contains(e.Detail, tt.says) {
				t.Errorf("got %+v", e)
			}
			if len(z.asked) != 1 {
				t.Errorf("asked %d times", len(z.asked))
			}
		})
	}
}

func TestEveryAddressMayRefuse(t *testing.T) {
	stubborn, good := newZone(t), newZone(t)
	refuse := func(w http.ResponseWriter, _ bootstrapRequest) bool {
		w.WriteHeader(401)
		fmt.Fprint(w, `{"detail":"unknown key","reason":"unknown_key"}`)
		return true
	}
	stubborn.bootstrap = refuse
	b := newBench(t, good, func(c *Config) { c.Addresses = []string{stubborn.url, good.url} })
	end := b.start(t)
	eventually(t, "a stream at the second", func() bool { return strings.Contains(good.history(), "open A") })
	if err := end(); err != nil {
		t.Error(err)
	}
	good.bootstrap = refuse
	b = newBench(t, good, func(c *Config) { c.Addresses = []string{stubborn.url, good.url} })
	if err := b.RunADS(t.Context()); federation.AsError(err).Reason != "unknown_key" {
		t.Errorf("both refuse: %v", err)
	}
	b = newBench(t, good, func(c *Config) { c.Addresses = []string{"https://127.0.0.1:1", good.url} })
	good.bootstrap = nil
	b.start(t)
	eventually(t, "the one that is there", func() bool { return strings.Count(good.history(), "open A") == 2 })
}

// A token that is replaced while the zone refuses the former is tried.
func TestRefusedTokenIsReplaced(t *testing.T) {
	z := newZone(t)
	b := newBench(t, z, nil)
	z.bootstrap = func(w http.ResponseWriter, q bootstrapRequest) bool {
		if q.DataplaneToken != tokenA {
			return false
		}
		replace(t, b.tokenFile, tokenB)
		w.WriteHeader(401)
		return true
	}
	b.start(t)
	eventually(t, "a stream with the new token", func() bool { return z.history() == "open B" })
}

func TestRotationOpensTheNewStreamFirst(t *testing.T) {
	for name, swap := range map[string]func(t *testing.T, b *bench){
		"rename": func(t *testing.T, b *bench) { replace(t, b.tokenFile, tokenB+"\n") },
		"symlink": func(t *testing.T, b *bench) {
			// As Kubernetes mounts: token -> ..data/token, ..data -> a folder.
			dir := filepath.Dir(b.tokenFile)
			for _, err := range []error{
				os.Mkdir(filepath.Join(dir, "..new"), 0o700),
				os.WriteFile(filepath.Join(dir, "..new", "token"), []byte(tokenB), 0o600),
				os.Symlink("..new", filepath.Join(dir, "..tmp")),
				os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			z := newZone(t)
			b := newBench(t, z, nil)
			dir := filepath.Dir(b.tokenFile)
			if name == "symlink" {
				for _, err := range []error{
					os.Mkdir(filepath.Join(dir, "..old"), 0o700),
					os.Rename(b.tokenFile, filepath.Join(dir, "..old", "token")),
					os.Symlink("..old", filepath.Join(dir, "..data")),
					os.Symlink("..data/token", b.tokenFile),
				} {
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			end := b.start(t)
			eventually(t, "the first stream", func() bool { return z.history() == "open A" })
			<-b.cfg.Output.Complete()
			eventually(t, "its endpoints", func() bool { return strings.Contains(b.out.String(), "clusterName: backend-endpoints") })
			printed := b.out.String()
			swap(t, b)
			eventually(t, "the old one to be closed", func() bool { return strings.Contains(z.history(), "close A") })
			if got := z.history(); got != "open A, open B, close A" {
				t.Errorf("%s: there was a gap", got)
			}
			if err := end(); err != nil {
				t.Error(err)
			}
			if b.out.String() != printed {
				t.Errorf("what did not change was printed again:\n%s", b.out.String()[len(printed):])
			}
		})
	}
}

func TestNewTokenThatIsRefusedLeavesTheOldStream(t *testing.T) {
	z := newZone(t)
	z.refuse[tokenB] = refusal(codes.PermissionDenied, "wrong_zone", "the token is for zone east")
	b := newBench(t, z, nil)
	b.start(t)
	eventually(t, "the first stream", func() bool { return z.history() == "open A" })
	replace(t, b.tokenFile, "") // in the middle of being written
	replace(t, b.tokenFile, tokenB)
	eventually(t, "the refusal", func() bool { return strings.Contains(b.log.String(), "reason=wrong_zone") })
	if got := z.history(); got != "open A, open B, close B" {
		t.Errorf("%s", got)
	}
	z.set(func() { delete(z.refuse, tokenB) })
	z.end("A", refusal(codes.Unauthenticated, "expired", "it expired"))
	eventually(t, "the stream with the new token", func() bool { return strings.HasSuffix(z.history(), "open B") })
}

func TestStreamThatIsEndedByARevocation(t *testing.T) {
	z := newZone(t)
	b := newBench(t, z, nil)
	done := make(chan error, 1)
	go func() { done <- b.RunADS(context.Background()) }()
	eventually(t, "the stream", func() bool { return z.history() == "open A" })
	<-b.cfg.Output.Complete()
	revoked := refusal(codes.Unauthenticated, "revoked", "revoked: the token was revoked")
	z.set(func() { z.refuse[tokenA] = revoked })
	z.end("A", revoked)
	err := <-done
	if e := federation.AsError(err); e == nil || e.Reason != "revoked" || e.Code != federation.Unauthenticated || e.Detail != "the token was revoked" {
		t.Errorf("got %+v", e)
	}
	if got := z.history(); got != "open A, close A, open A, close A" {
		t.Errorf("%s", got)
	}
}

func TestStreamThatBreaksIsOpenedAgain(t *testing.T) {
	z := newZone(t)
	b := newBench(t, z, nil)
	b.start(t)
	for n, err := range []error{nil, refusal(codes.Unavailable, "stopping", "the zone is stopping"), refusal(codes.FailedPrecondition, "name_taken", "another proxy has this name"),
		refusal(codes.Unauthenticated, "no_first_request", "the stream had no first request")} {
		eventually(t, "a stream", func() bool { return strings.Count(z.history(), "open A") == n+1 })
		<-b.cfg.Output.Complete()
		z.end("A", err)
	}
	eventually(t, "the last stream", func() bool { return strings.Count(z.history(), "open A") == 5 })
}

func TestZoneWhoseCertificateIsNotOfTheCA(t *testing.T) {
	z := newZone(t)
	other := t.TempDir()
	if _, err := tlsutil.OpenSelfMade(other, tlsutil.Identity{Cluster: "c", Role: tlsutil.RoleZone, Name: "west"}, []string{"127.0.0.1"}, tlsutil.Options{}); err != nil {
		t.Fatal(err)
	}
	right, err := os.ReadFile(z.ca)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := os.ReadFile(filepath.Join(other, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	ca := write(t, t.TempDir(), "ca.crt", string(stranger))
	b := newBench(t, z, func(c *Config) { c.CAFile = ca })
	b.start(t)
	eventually(t, "a word on it", func() bool {
		return strings.Contains(b.log.String(), "certificate signed by unknown authority") && strings.Contains(b.log.String(), "--ca-cert-file")
	})
	if len(z.asked) != 0 {
		t.Error("it was asked nevertheless")
	}
	replace(t, ca, string(right))
	eventually(t, "a stream once the file is right", func() bool { return z.history() == "open A" })
}

func TestConfigurationsThatCannotWork(t *testing.T) {
	z := newZone(t)
	for name, tt := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"no address":  {func(c *Config) { c.Addresses = nil }, "no zone control plane"},
		"without TLS": {func(c *Config) { c.Addresses = []string{"http://zone:5678"} }, "without TLS"},
		"no URL":      {func(c *Config) { c.Addresses = []string{"zone:5678"} }, "is not the address"},
		"with a path": {func(c *Config) { c.Addresses = []string{"https://zone:5678/x"} }, "is not the address"},
		"with a user": {func(c *Config) { c.Addresses = []string{"https://a:b@zone:5678"} }, "is not the address"},
		"no CA":       {func(c *Config) { c.CAFile = "/nowhere" }, "--ca-cert-file"},
		"no token there": {func(c *Config) {
			c.Token = func() (string, error) { return "", federation.Errorf(federation.Invalid, "the file is empty") }
		}, "the file is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Addresses: []string{z.url}, CAFile: z.ca, Output: NewPrinter(&buffer{}, false)}
			tt.change(&cfg)
			if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v", err)
			}
		})
	}
	if a, err := New(Config{Addresses: []string{"https://zone/"}}); err != nil || a.cfg.Addresses[0] != "https://zone:5678" {
		t.Errorf("the port that is not said: %v, %v", a, err)
	}
}
