package apiclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

func TestErrorsOfTheNodeArriveWhole(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		want   federation.Error
	}{
		{"ours", 409, `{"type":"/std-errors","status":409,"title":"Conflict","detail":"zones west are waited for","hint":"wait","reason":"not_held"}`,
			federation.Error{Code: federation.Conflict, Detail: "zones west are waited for", Hint: "wait", Reason: "not_held"}},
		{"with fields", 400, `{"title":"Bad Request","detail":"validFor: not a duration","invalid_parameters":[{"field":"validFor","reason":"not a duration"}]}`,
			federation.Error{Code: federation.Invalid, Detail: "validFor: not a duration", Hint: "nothing was changed: correct it and run the command again", Fields: []federation.FieldError{{Field: "validFor", Reason: "not a duration"}}}},
		{"Kuma's, whose detail names no field", 400, `{"title":"Could not process a resource","detail":"Resource is not valid","invalid_parameters":[{"field":"zone","reason":"cannot be empty"}]}`,
			federation.Error{Code: federation.Invalid, Detail: "Resource is not valid; zone: cannot be empty", Hint: "nothing was changed: correct it and run the command again", Fields: []federation.FieldError{{Field: "zone", Reason: "cannot be empty"}}}},
		{"old Kuma's", 500, `{"title":"Internal Server Error","details":"no leader"}`,
			federation.Error{Code: federation.Internal, Detail: "no leader", Hint: "the node's log says more"}},
		{"title only", 403, `{"title":"Access Denied"}`,
			federation.Error{Code: federation.Forbidden, Detail: "Access Denied", Hint: `use a user token of the group "admin"`}},
		{"unavailable", 503, `{"title":"Unavailable","detail":"no leader"}`,
			federation.Error{Code: federation.Unavailable, Detail: "no leader", Hint: "nothing was changed: run the command again", RetryAfter: 2 * time.Second}},
		{"unknown outcome", 504, `{"title":"Unknown Outcome","detail":"leadership was lost"}`,
			federation.Error{Code: federation.UnknownOutcome, Detail: "leadership was lost", Hint: "it may have taken effect; ask what became of it: global get request ID"}},
		{"not JSON", 502, `<html>Bad Gateway</html>`,
			federation.Error{Code: federation.Unavailable, Detail: "a proxy before the global at", Hint: "does the proxy reach a running global? another address is named with --address"}},
		{"JSON of another API", 404, `{"error":"nope"}`,
			federation.Error{Code: federation.NotFound, Detail: "answered 404 Not Found", Hint: "is this the address of a global? name it with --address"}},
		{"plain HTTP to a TLS port", 400, "Client sent an HTTP request to an HTTPS server.\n",
			federation.Error{Code: federation.Invalid, Detail: "speaks TLS only", Hint: "write https:// in --address"}},
		{"redirect", 302, ``,
			federation.Error{Code: federation.Internal, Detail: "answers with a redirect", Hint: "is this the address of a global? name it with --address"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := global(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "http://stranger.invalid/")
				if tt.status == 503 {
					w.Header().Set("Retry-After", "2")
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			_, err := g.Keys(t.Context())
			if e := federation.AsError(err); e != nil {
				e.Hint = requestIDs.ReplaceAllString(e.Hint, "ID")
			}
			var e *federation.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			if e.Code != tt.want.Code || !strings.Contains(e.Detail, tt.want.Detail) || e.Hint != tt.want.Hint ||
				e.Reason != tt.want.Reason || e.RetryAfter != tt.want.RetryAfter || fmt.Sprint(e.Fields) != fmt.Sprint(tt.want.Fields) {
				t.Errorf("got %+v\nwant %+v", *e, tt.want)
			}
		})
	}
}

var requestIDs = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)

// TestAProxyInBetween: what a proxy answers in the node's place says nothing about
// what became of a change, and the id under which to ask survives a proxy that
// replaces X-Request-Id.
func TestAProxyInBetween(t *testing.T) {
	for _, status := range []int{502, 503, 504} {
		var sent string
		g := global(t, func(w http.ResponseWriter, r *http.Request) {
			sent = r.Header.Get(apitypes.HeaderRequestID)
			w.Header().Set("X-Request-Id", "11111111-1111-4111-8111-111111111111") // the proxy's own
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "upstream connect error")
		})
		_, err := g.ActivateKey(t.Context(), apitypes.KeyStepRequest{Kind: "zone", KID: "2"})
		e := federation.AsError(err)
		if e == nil || e.Code != federation.UnknownOutcome || len(sent) != 36 || !strings.HasSuffix(e.Hint, "global get request "+sent) {
			t.Errorf("%d: %+v, sent under %q", status, e, sent)
		}
	}
}

func TestHintForWhoBringsNoToken(t *testing.T) {
	refuse := func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, 401, apitypes.Error{Title: "Unauthenticated", Detail: "no token"})
	}
	server := httptest.NewServer(http.HandlerFunc(refuse))
	t.Cleanup(server.Close)
	g := clientOf(t, Target{Service: API("global"), Address: server.URL})
	_, err := g.Keys(t.Context())
	if e := federation.AsError(err); e.Code != federation.Unauthenticated || !strings.HasPrefix(e.Hint, "give a user token") {
		t.Errorf("%+v", e)
	}
}

func TestNotFoundNamesWhat(t *testing.T) {
	g := global(t, func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, 404, apitypes.Error{Title: "Could not retrieve a resource", Detail: "Not found"})
	})
	if _, err := g.Secret(t.Context(), "default", "x"); err == nil || err.Error() != "the secret x of mesh default was not found" {
		t.Errorf("got %v", err)
	}
}

func TestBadAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"no JSON": "<html>", "cut off": `{"items":[`, "another type": `{"items":"x"}`, "two values": `{} {}`, "nothing": "",
	} {
		g := global(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		if _, err := g.Keys(t.Context()); federation.CodeOf(err) != federation.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, body := range map[string]string{
		"page": "<html>\n<body>", "empty": "", "huge": strings.Repeat("x", cptoken.MaxTokenBytes+1),
	} {
		g := global(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		token, err := g.UserToken(t.Context(), apitypes.UserTokenRequest{Name: "x"})
		if token.Token != "" || err == nil || !strings.Contains(err.Error(), "did not send a token") {
			t.Errorf("%s: %q, %v", name, token, err)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	endless := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			chunk := make([]byte, 1<<20)
			for r.Context().Err() == nil {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}
	}
	for _, status := range []int{200, 500} {
		if _, err := global(t, endless(status)).Keys(t.Context()); federation.CodeOf(err) != federation.TooLarge {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

// TestLostAnswers cuts the connection before any answer: what changes something
// has then an unknown outcome, what only reads or signs has none.
func TestLostAnswers(t *testing.T) {
	var asked atomic.Int32
	g := global(t, func(_ http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		panic(http.ErrAbortHandler)
	})
	_, err := g.Revoke(t.Context(), apitypes.RevokeRequest{Kind: "zone", IDs: []string{"x"}})
	if e := federation.AsError(err); e.Code != federation.UnknownOutcome || !strings.Contains(e.Hint, "global get request ") {
		t.Errorf("a change: %+v", e)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("a change was sent %d times", n)
	}
	if _, err := g.ZoneToken(t.Context(), apitypes.ZoneTokenRequest{Zone: "west"}); federation.CodeOf(err) != federation.Unavailable {
		t.Errorf("a token: %v", err)
	}
	if _, err := g.Keys(t.Context()); federation.CodeOf(err) != federation.Unavailable {
		t.Errorf("a reading: %v", err)
	}
}

func TestChangeThatNeverArrived(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	g := clientOf(t, Target{Service: API("global"), Address: "http://" + address, token: secretToken})
	_, err = g.Revoke(t.Context(), apitypes.RevokeRequest{Kind: "zone", IDs: []string{"x"}})
	e := federation.AsError(err)
	want := "cannot reach the global at http://" + address + ": connection refused"
	if e.Code != federation.Unavailable || e.Detail != want || !strings.Contains(e.Hint, "is it running?") {
		t.Errorf("%+v\nwant %s", e, want)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := global(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	_, err := g.Keys(ctx)
	if !strings.HasSuffix(err.Error(), ": interrupted") {
		t.Errorf("got %v", err)
	}
}

func TestRedirectDoesNotCarryTheToken(t *testing.T) {
	stranger := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the stranger was asked, with %q", r.Header.Get("Authorization"))
	}))
	t.Cleanup(stranger.Close)
	g := global(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, stranger.URL, http.StatusTemporaryRedirect)
	})
	if _, err := g.UserToken(t.Context(), apitypes.UserTokenRequest{Name: "x"}); err == nil {
		t.Error("a redirect was taken for a token")
	}
}

func TestNoErrorShowsTheToken(t *testing.T) {
	for _, handler := range []http.HandlerFunc{
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "?") },
	} {
		_, err := global(t, handler).Revoke(t.Context(), apitypes.RevokeRequest{Token: "secret"})
		if text := fmt.Sprintf("%v %+v", err, federation.AsError(err)); strings.Contains(text, "secret") {
			t.Errorf("shows the token: %s", text)
		}
	}
}

// TestAnotherPortIsNamed: who asks where proxies, zones or members connect hears so, and
// where the API is.
func TestAnotherPortIsNamed(t *testing.T) {
	hint := func(s Service, address string, err error) string {
		return (&client{target: Target{Service: s, Address: address}}).unreachableHint(err)
	}
	garbled := errors.New("malformed HTTP response")
	for port := range otherPorts {
		if got := hint(API("global"), "http://host:"+port, garbled); !strings.Contains(got, "port "+port+" is ") || !strings.Contains(got, "http://host:5681") {
			t.Errorf("of port %s it says %q", port, got)
		}
	}
	for _, got := range []string{
		hint(API("global"), "http://host:5681", garbled), hint(API("global"), "http://host:5685", syscall.ECONNREFUSED), hint(ProxyPort(), "https://host:5678", garbled),
	} {
		if strings.Contains(got, "is where") {
			t.Errorf("of a right port, or where nobody listens, it says %q", got)
		}
	}
}

// TestAProxyOfTheEnvironmentIsNamed: it is between the command and the node, and nobody typed it.
func TestAProxyOfTheEnvironmentIsNamed(t *testing.T) {
	g, err := NewGlobal(Target{Service: API("global"), Address: "http://192.0.2.1:5681"}, "test")
	if err != nil {
		t.Fatal(err)
	}
	g.c.proxy = func(*http.Request) (*url.URL, error) { return url.Parse("http://user:secret@127.0.0.1:1") }
	g.c.http.Transport.(*http.Transport).Proxy = g.c.proxy
	_, err = g.Keys(t.Context())
	if e := federation.AsError(err); e == nil || !strings.Contains(e.Detail, "through the proxy 127.0.0.1:1: ") ||
		!strings.Contains(e.Hint, "NO_PROXY=192.0.2.1") || strings.Contains(e.Detail+e.Hint, "secret") {
		t.Errorf("got %+v", e)
	}
}
