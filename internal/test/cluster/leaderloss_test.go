package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/raftstore"
)

// operation is something that an operator does with one request, and that takes some
// entries of the log.
type operation struct {
	name string
	// entries is how many the log has more of afterwards.
	entries int
	ask     func(g *Global, request string) (reply, error)
	// made counts how much of it is there at a member, of all that there is of it.
	made func(g *Global) (n, all int)
}

// loseLeader has the operation done at a member, and takes the leader's network away as
// soon as the leader has so many entries of it. It returns what the client was told; a
// status of 0 is a connection that was lost.
func (c *Globals) loseLeader(t *testing.T, op operation, via *Global, request string, after int) (lost *Global, status int) {
	t.Helper()
	lost = c.Leader()
	base := lost.Node.Store().Applied()
	answered := make(chan int, 1)
	go func() {
		r, err := op.ask(via, request)
		if err != nil {
			r.status = 0
		}
		answered <- r.status
	}()
	deadline := time.Now().Add(Patience)
	for lost.Node.Store().Applied() < base+uint64(after) && len(answered) == 0 && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	c.Net.Cut(lost.Name, true)
	return lost, <-answered
}

// lossAt loses the leader at one step of an operation and checks all that is promised:
// it was done as a whole or not at all, what was acknowledged is there, and doing it again
// completes it, everywhere.
func (c *Globals) lossAt(t *testing.T, op operation, atLeader bool, after int) {
	t.Helper()
	c.settled(t)
	via := c.Followers()[0]
	if atLeader {
		via = c.Leader()
	}
	request := uuid.NewString()
	lost, status := c.loseLeader(t, op, via, request, after)
	rest := *c
	rest.Members = without(c.Members, lost)
	next := rest.Leader()
	n, all := op.made(next)
	t.Logf("%s, leader lost after %d of %d entries, asked at the leader: %v: answered %d, %d of %d made", op.name, after, op.entries, atLeader, status, n, all)
	if n != 0 && n != all {
		t.Errorf("%s: %d of %d were made", op.name, n, all)
	}
	if status == http.StatusOK && n != all {
		t.Errorf("%s was acknowledged, and %d of %d are there", op.name, n, all)
	}
	if told := next.outcome(t, request); (told.Outcome == apitypes.OutcomeApplied) != (n == all) {
		t.Errorf("%s is said to be %s, and %d of %d are there", op.name, told.Outcome, n, all)
	}
	Eventually(t, op.name+" to be done again", func() bool {
		r, err := op.ask(rest.Members[0], request)
		if err == nil && r.status >= 400 && r.status < 500 {
			t.Fatalf("%s again: %d %s", op.name, r.status, r.body)
		}
		return err == nil && r.status == http.StatusOK || err == nil && r.status == http.StatusCreated
	})
	c.Net.Cut(lost.Name, false)
	c.settled(t)
	for _, g := range c.Members {
		if n, all := op.made(g); n != all {
			t.Errorf("%s at %s: %d of %d were made", op.name, g.Name, n, all)
		}
	}
}

func without(members []*Global, lost *Global) []*Global {
	var rest []*Global
	for _, g := range members {
		if g != lost {
			rest = append(rest, g)
		}
	}
	return rest
}

// settled waits until all members have all that the leader has.
func (c *Globals) settled(t *testing.T) {
	t.Helper()
	Eventually(t, "all members to be level", func() bool {
		leader := c.Leader().Node.Store()
		for _, g := range c.Running() {
			if s := g.Node.Store(); s.Applied() < leader.Applied() || s.LeaderContact() > time.Second {
				return false
			}
		}
		return leader.IsLeader()
	})
}

// revoking are random ids that one request revokes.
func revoking(name string, n, entries int) operation {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = uuid.NewString()
	}
	return operation{
		name: name, entries: entries,
		ask: func(g *Global, request string) (reply, error) {
			if n <= 100 {
				return g.ask("POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "zone", IDs: ids}, "X-Request-Id", request)
			}
			return g.send("POST", "/v1/revocations/bulk?kind=zone", "text/plain", strings.NewReader(strings.Join(ids, "\n")), request)
		},
		made: func(g *Global) (int, int) {
			view, there := g.Node.Store().View(), 0
			for _, id := range ids {
				if view.Revoked(cptoken.Zone, "", id) {
					there++
				}
			}
			return there, n
		},
	}
}

// eventually has an operation done, repeated under one request id until it is.
func (c *Globals) eventually(t *testing.T, op operation) {
	t.Helper()
	request := uuid.NewString()
	Eventually(t, op.name+" to be done", func() bool {
		r, err := op.ask(c.Leader(), request)
		return err == nil && r.status == http.StatusOK
	})
}

// send is ask with a body as it is.
func (g *Global) send(method, path, contentType string, body io.Reader, request string) (reply, error) {
	req, err := http.NewRequest(method, "http://"+g.Node.Endpoints().API+path, body)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Request-Id", request)
	client := http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, text}, err
}

// TestLeaderLostWhileRevoking: at each entry of one revocation, and of a list that takes
// several parts.
func TestLeaderLostWhileRevoking(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	for after := range 2 {
		c.lossAt(t, revoking("a revocation", 3, 1), after == 0, after)
	}
	for after := range 5 {
		c.lossAt(t, revoking("a list of 25,000", 25_000, 4), after%2 == 1, after)
	}
}

// keyStep is one step of a key's life by hand.
func (c *Globals) keyStep(t *testing.T, step string, body apitypes.KeyStepRequest, reached string) operation {
	t.Helper()
	return operation{
		name: step, entries: 1,
		ask: func(g *Global, request string) (reply, error) {
			return g.ask("POST", "/v1/keys/"+step, body, "X-Request-Id", request)
		},
		made: func(g *Global) (int, int) {
			k, there := g.Node.Store().Key(cptoken.KeyID{Kind: cptoken.Zone, KID: body.KID})
			if !there && reached == "" || there && string(k.State) == reached {
				return 1, 1
			}
			return 0, 1
		},
	}
}

// TestLeaderLostWhileRotating: at each step of a rotation under a zone that verifies, and
// while it waits at the gate. The zone never refuses a token that was issued.
func TestLeaderLostWhileRotating(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	var addresses []string
	var relays []*Relay
	for _, g := range c.Members {
		r := NewRelay(t, g.KDS())
		relays, addresses = append(relays, r), append(addresses, r.Addr())
	}
	west := c.Leader().StartZone("west", addresses...)
	west.WaitCurrent(c.Leader())
	c.awaitOnline(t, "west", 1)
	tokens := map[string]string{}
	issue := func(when string) {
		t.Helper()
		for _, g := range c.Members {
			tokens[when+" at "+g.Name] = g.ZoneToken("west", cptoken.ScopeEgress)
		}
		for name, token := range tokens {
			west.Expect("a token issued "+name, token, "egress", Accepted)
		}
	}
	issue("before")
	for after := range 2 {
		highest := c.highest()
		prepare := operation{
			name: "prepare", entries: 1,
			ask: func(g *Global, request string) (reply, error) {
				return g.ask("POST", "/v1/keys/prepare", apitypes.KeyPrepareRequest{Kind: "zone"}, "X-Request-Id", request)
			},
			made: func(g *Global) (int, int) {
				if _, there := g.Node.Store().Key(cptoken.KeyID{Kind: cptoken.Zone, KID: fmt.Sprint(highest + 1)}); there {
					return 1, 1
				}
				return 0, 1
			},
		}
		key := apitypes.Key{KID: fmt.Sprint(highest + 1)}
		for _, r := range relays {
			r.Stall() // the gate stays closed
		}
		c.lossAt(t, prepare, after == 1, after)
		issue("while the gate is closed")
		waiting := c.Leader()
		c.Net.Cut(waiting.Name, true) // and once more while the rotation waits
		rest := *c
		rest.Members = without(c.Members, waiting)
		if r, err := rest.Leader().ask("POST", "/v1/keys/activate", step(key)); err == nil && r.status == http.StatusOK {
			t.Error("a key that the zone lacks was activated")
		}
		c.Net.Cut(waiting.Name, false)
		for _, r := range relays {
			r.Resume()
		}
		west.WaitCurrent(c.Leader())
		Eventually(t, "the gate to open", func() bool {
			var h apitypes.KeyHolding
			r, err := c.Leader().ask("GET", "/v1/keys/zone/"+key.KID+"/holding", nil)
			return err == nil && r.status == http.StatusOK && json.Unmarshal(r.body, &h) == nil && h.Open && len(h.Held) == 1
		})
		// Once more after the loss: the new leader waits for reports of its own.
		c.lossAt(t, c.eager(c.keyStep(t, "activate", apitypes.KeyStepRequest{Kind: "zone", KID: key.KID}, "active")), after == 0, after)
		issue("after the activation")
		former := fmt.Sprint(highest)
		for name := range tokens {
			delete(tokens, name) // of the key that goes
		}
		c.lossAt(t, c.eager(c.keyStep(t, "remove", apitypes.KeyStepRequest{Kind: "zone", KID: former, Force: true}, "")), after == 1, after)
		west.WaitCurrent(c.Leader())
		issue("after the removal")
	}
	// By hand, and against better judgement: the key that signs is retired.
	kid := fmt.Sprint(c.highest())
	c.lossAt(t, c.eager(c.keyStep(t, "retire", apitypes.KeyStepRequest{Kind: "zone", KID: kid, Force: true}, "retiring")), true, 1)
	west.WaitCurrent(c.Leader())
	for name, token := range tokens {
		west.Expect("a token issued "+name, token, "egress", Accepted)
	}
}

// eager has a step that a gate holds back for a moment tried again, as the command does.
func (c *Globals) eager(op operation) operation {
	ask := op.ask
	op.ask = func(g *Global, request string) (reply, error) {
		r, err := ask(g, request)
		for deadline := time.Now().Add(Patience); err == nil && r.status == http.StatusConflict && time.Now().Before(deadline); {
			time.Sleep(100 * time.Millisecond) // between two attempts of a client
			r, err = ask(g, request)
		}
		return r, err
	}
	return op
}

// highest is the serial of the newest zone key.
func (c *Globals) highest() (serial uint64) {
	for _, k := range c.Leader().Node.Store().Keys() {
		if k.ID.Kind == cptoken.Zone {
			serial = max(serial, k.Serial)
		}
	}
	return serial
}

// TestLeaderLostWhileRestoring: at each part of a backup and at its commit. The zone comes
// over to the new history, and keeps what it knew to be revoked.
func TestLeaderLostWhileRestoring(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	leader := c.Leader()
	var addresses []string
	for _, g := range c.Members {
		addresses = append(addresses, g.KDS())
	}
	west := leader.StartZone("west", addresses...)
	west.WaitCurrent(leader)
	many := revoking("many", 25_000, 4)
	c.eventually(t, many)
	good := leader.ZoneToken("west", cptoken.ScopeEgress)
	var backup bytes.Buffer
	Eventually(t, "a backup", func() bool {
		backup.Reset()
		return c.Leader().Node.Store().Save(t.Context(), raftstore.SaveOptions{}, &backup) == nil
	})
	for after := range 5 {
		gone, lost := revoking("since the backup", 3, 1), c.Leader().ZoneToken("west", cptoken.ScopeEgress)
		c.eventually(t, gone)
		lossy := operation{name: "a token's revocation", entries: 1, ask: func(g *Global, request string) (reply, error) {
			return g.ask("POST", "/v1/revocations", apitypes.RevokeRequest{Token: lost}, "X-Request-Id", request)
		}}
		c.eventually(t, lossy)
		west.WaitCurrent(c.Leader())
		restore := operation{
			name: "restore", entries: 4,
			ask: func(g *Global, request string) (reply, error) {
				return g.send("POST", "/v1/snapshot/restore?"+url.Values{"force": {"true"}}.Encode(), "application/octet-stream", bytes.NewReader(backup.Bytes()), request)
			},
			made: func(g *Global) (int, int) {
				if n, _ := gone.made(g); n == 0 {
					return 1, 1 // the backup lacks them
				}
				return 0, 1
			},
		}
		c.lossAt(t, restore, after%2 == 0, after)
		west.WaitCurrent(c.Leader())
		west.Expect("a token that was revoked after the backup", lost, "egress", Refused("revoked"))
		west.Expect("a token of before", good, "egress", Accepted)
		for _, g := range c.Members {
			if n, all := many.made(g); n != all {
				t.Errorf("%s has %d of %d revocations of the backup", g.Name, n, all)
			}
		}
	}
}

// TestLeaderLostWhileIssuing: tokens are issued without a leader, at every member that has
// heard one a moment ago, and each is good at the zone.
func TestLeaderLostWhileIssuing(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	lost, via := c.Leader(), c.Followers()[0]
	west := via.StartZone("west", via.KDS())
	west.WaitCurrent(lost)
	issued := 0
	issue := func(g *Global) {
		t.Helper()
		var token string
		r, err := g.ask("POST", "/tokens/zone", apitypes.ZoneTokenRequest{Zone: "west", Scope: []string{"egress"}})
		if err != nil || r.status != http.StatusOK {
			t.Fatalf("issuing at %s: %v %d %s", g.Name, err, r.status, r.body)
		}
		token = strings.TrimSpace(string(r.body))
		west.Expect("token "+fmt.Sprint(issued), token, "egress", Accepted)
		issued++
	}
	for _, g := range c.Members {
		issue(g)
	}
	c.Net.Cut(lost.Name, true)
	before := issued
	rest := *c
	rest.Members = without(c.Members, lost)
	for led := false; !led || issued < before+10; {
		for _, g := range c.Members { // the one that was cut off, too: nothing tells it so yet
			issue(g)
		}
		for _, g := range rest.Members {
			led = led || g.Node.Store().IsLeader()
		}
	}
	t.Logf("%d tokens were issued while there was no leader", issued-before)
	c.Net.Cut(lost.Name, false)
	c.settled(t)
	issue(lost)
}
