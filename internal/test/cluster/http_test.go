package cluster

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/internal/apitypes"
)

// reply is what a member's HTTP API answered.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// ask sends a request to a member's API, as an administrator from loopback unless
// a header says who it is. An error is one of the network.
func (g *Global) ask(method, path string, body any, header ...string) (reply, error) {
	var data io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return reply{}, err
		}
		data = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, "http://"+g.node().Endpoints().API+path, data)
	if err != nil {
		return reply{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, text}, err
}

// want is ask for an answer of that status, decoded into out if that is not nil.
func (g *Global) want(t *testing.T, status int, method, path string, body, out any, header ...string) reply {
	t.Helper()
	r, err := g.ask(method, path, body, header...)
	if err != nil {
		t.Fatalf("%s at %s: %v", path, g.Name, err)
	}
	if r.status != status {
		t.Fatalf("%s %s at %s: status %d, want %d: %s", method, path, g.Name, r.status, status, r.body)
	}
	if out != nil {
		if err := json.Unmarshal(r.body, out); err != nil {
			t.Fatalf("%s: %v: %s", path, err, r.body)
		}
	}
	return r
}

// revokeAnywhere revokes a random id and repeats the request, under the same request
// id, until some member has acknowledged it.
func (c *Globals) revokeAnywhere(t *testing.T, try int) (id string) {
	t.Helper()
	id = uuid.NewString()
	request := uuid.NewString()
	deadline := time.Now().Add(Patience)
	for ; time.Now().Before(deadline); try++ {
		g := c.Members[try%len(c.Members)]
		r, err := g.ask("POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "zone", IDs: []string{id}}, "X-Request-Id", request)
		if err == nil && r.status == http.StatusOK {
			return id
		}
		if err == nil && r.status != http.StatusServiceUnavailable && r.status != http.StatusGatewayTimeout {
			t.Errorf("a revocation at %s: %d %s", g.Name, r.status, r.body)
			return ""
		}
		time.Sleep(10 * time.Millisecond) // between two attempts of a client
	}
	t.Error("a revocation is never acknowledged")
	return ""
}
