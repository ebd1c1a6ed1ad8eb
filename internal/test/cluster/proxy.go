package cluster

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"

	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// Verdict is what a zone says of a token.
type Verdict struct {
	Status int    // HTTP
	Reason string // "" where it was accepted
}

// Accepted is the verdict over a good token.
var Accepted = Verdict{Status: http.StatusOK}

// maxAnswer bounds what is read of a node's answer.
const maxAnswer = 1 << 20

// Authenticate asks the zone, as a proxy would, over its TLS port.
func (z *Zone) Authenticate(token, proxyType string) Verdict {
	z.t.Helper()
	return z.Present(map[string]any{"token": token, "proxyType": proxyType})
}

// Present is Authenticate with everything that a proxy can say of itself.
func (z *Zone) Present(proxy map[string]any) Verdict {
	z.t.Helper()
	e := z.Node.Endpoints()
	pool, err := tlsutil.LoadPool(e.CAFile)
	if err != nil {
		z.t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: Patience}
	body, err := json.Marshal(proxy)
	if err != nil {
		z.t.Fatal(err)
	}
	resp, err := client.Post("https://"+e.DP+"/v1/authenticate", "application/json", bytes.NewReader(body))
	if err != nil {
		z.t.Fatalf("asking zone %s: %v", z.Name, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		z.t.Fatalf("reading zone %s's answer: %v", z.Name, err)
	}
	var said struct {
		Reason string `json:"reason"`
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		z.t.Fatalf("zone %s answered no JSON: %d", z.Name, resp.StatusCode)
	}
	return Verdict{Status: resp.StatusCode, Reason: said.Reason}
}

// Expect fails the test where the verdict is another.
func (z *Zone) Expect(what, token, proxyType string, want Verdict) {
	z.t.Helper()
	if got := z.Authenticate(token, proxyType); got != want {
		z.t.Errorf("zone %s, %s as %s: %+v, want %+v", z.Name, what, proxyType, got, want)
	}
}

// Refused is the verdict over a token that says nothing true of this caller.
func Refused(reason string) Verdict {
	switch reason {
	case "wrong_zone", "out_of_scope":
		return Verdict{Status: http.StatusForbidden, Reason: reason}
	case "no_keys", "stale": // the zone's fault, not the token's: try again later
		return Verdict{Status: http.StatusServiceUnavailable, Reason: reason}
	}
	return Verdict{Status: http.StatusUnauthorized, Reason: reason}
}
