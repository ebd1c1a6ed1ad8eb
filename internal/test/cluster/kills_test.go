package cluster

import (
	"bytes"
	crand "crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/endpoints"
)

var kills = flag.Int("kills", 25, "how often a process is killed at a random instant")

// postRevocation revokes an id over the API of the member of a directory and reports whether
// it was acknowledged. It asks whoever listens where the member said that it does.
func postRevocation(dir, id string) bool {
	e, err := endpoints.Read(dir)
	if err != nil {
		return false
	}
	body, err := json.Marshal(apitypes.RevokeRequest{Kind: "zone", IDs: []string{id}})
	if err != nil {
		return false
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post("http://"+e.API+"/v1/revocations", "application/json", bytes.NewReader(body))
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// writers write at all nodes until stop is closed, and keep what was acknowledged.
type writers struct {
	mu           sync.Mutex
	acknowledged []string
	stop         chan struct{}
	all          sync.WaitGroup
}

func (c *nodes) write(n int) *writers {
	w := &writers{stop: make(chan struct{})}
	for i := range n {
		w.all.Go(func() {
			for at := i; ; at++ {
				select {
				case <-w.stop:
					return
				default:
				}
				if id := uuid.NewString(); postRevocation(c.all[at%len(c.all)].dir, id) {
					w.mu.Lock()
					w.acknowledged = append(w.acknowledged, id)
					w.mu.Unlock()
				} else {
					time.Sleep(20 * time.Millisecond) // between two attempts of a client
				}
			}
		})
	}
	return w
}

func (w *writers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acknowledged)
}

// end stops the writers and returns what was acknowledged.
func (w *writers) end() []string {
	close(w.stop)
	w.all.Wait()
	return w.acknowledged
}

// hold wants everything that was acknowledged at every node.
func (c *nodes) hold(acknowledged []string) {
	c.t.Helper()
	for _, m := range c.all {
		Eventually(c.t, fmt.Sprintf("%s to have all %d acknowledged writes", m.name, len(acknowledged)), func() bool {
			return m.revoked(acknowledged...) == len(acknowledged)
		})
	}
}

// TestKilledAtRandomInstants kills members, and the zone, with SIGKILL while clients write
// and the zone verifies. No write that was acknowledged is lost, no good token refused.
//
//	go test ./internal/test/cluster -run TestKilledAtRandomInstants -kills 500
func TestKilledAtRandomInstants(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3)
	west := c.startZone("west")
	good, lost := west.token(c.all[0], "good"), west.token(c.all[0], "lost")
	west.await(good, "accepted")
	c.all[1].completes("revoke", "--token-file", lost)
	west.await(lost, "revoked")
	secret := c.importZoneKey()
	foreign := c.file("foreign.token", []byte(c.all[0].must("generate", "zone-token", "--zone", "east", "--scope", "egress")))
	user := c.file("user.token", []byte(c.all[0].must("generate", "user-token", "--name", "jo")))
	w := c.write(4)
	var longest time.Duration
	for i := range *kills {
		time.Sleep(rand.N(300 * time.Millisecond)) // the instant is the test's input
		if i%8 == 7 {
			held := west.revision()
			west.kill()
			if now, revoked := west.onDisk(lost); !now.Covers(held) || !revoked {
				t.Errorf("the zone was at %s, was killed, and its file is at %s, with the revoked token %v", held, now, revoked)
			}
			west.start()
			west.expect(good, "accepted")
			west.expect(lost, "revoked")
			west.expect(foreign, "wrong_zone")
			west.expect(user, "wrong_kind")
			continue
		}
		m := c.all[rand.IntN(len(c.all))]
		before, begun := w.count(), time.Now()
		m.kill()
		Eventually(t, "a write after a kill", func() bool { return w.count() > before+4 }) // 4 may have been under way
		took := time.Since(begun)
		longest = max(longest, took)
		t.Logf("kill %d of %d, of member %s: writes again after %s", i+1, *kills, m.name, took.Round(time.Millisecond))
		m.start()
		m.endpoints(m.dir)
		west.expect(good, "accepted")
		west.expect(lost, "revoked")
	}
	acknowledged := w.end()
	t.Logf("%d kills, %d writes acknowledged, writes again after %s at most", *kills, len(acknowledged), longest.Round(time.Millisecond))
	c.awaitVoters(3)
	c.hold(acknowledged)
	fresh := west.token(c.leader(), "fresh")
	c.leader().completes("revoke", "--token-file", fresh)
	west.await(fresh, "revoked")
	west.kill()
	secret.searchFolder(t, west.dir)
	secret.search(t, "the log of the zone", []byte(west.log.String()))
	for _, m := range c.all {
		m.kill()
		if secret.searchFolder(t, m.dir) < 2 {
			t.Errorf("too few files of %s were searched", m.name)
		}
		secret.search(t, "the log of "+m.name, []byte(m.log.String()))
	}
}

// importZoneKey has the members sign zone tokens with a key that is known here.
func (c *nodes) importZoneKey() needles {
	c.t.Helper()
	key, err := rsa.GenerateKey(crand.Reader, 2048)
	if err != nil {
		c.t.Fatal(err)
	}
	der := x509.MarshalPKCS1PrivateKey(key)
	n := needles{}
	for i, p := range key.Primes {
		n.add("prime "+string(rune('0'+i)), p.Bytes())
	}
	n.add("the exponent", key.D.Bytes())
	data := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der}))
	c.all[0].completes("apply", "-f", c.file("key.yaml", []byte("type: GlobalSecret\nname: zone-token-signing-key-2\ndata: "+data+"\n")))
	return n
}

// TestStoppedPastTheLease holds the leader's process up for longer than its lease, and its
// members' terms with the zones, and lets it go on. It acknowledges nothing on its own.
func TestStoppedPastTheLease(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3)
	west := c.startZone("west")
	good := west.token(c.all[0], "good")
	west.await(good, "accepted")
	stopped := c.leader()
	var rest []*node
	for _, m := range c.all {
		if m != stopped {
			rest = append(rest, m)
		}
	}
	w := c.write(3)
	Eventually(t, "writes", func() bool { return w.count() > 10 })
	if err := stopped.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	before := w.count()
	Eventually(t, "writes at the others", func() bool { return w.count() > before+10 })
	begun := time.Now()
	// A rotation waits for the silent member until its lease has ended, then names it.
	rest[0].completes("keys", "rotate", "zone-token", "--wait", "25s", "--yes")
	t.Logf("the rotation took %s beside a stopped member", time.Since(begun).Round(100*time.Millisecond))
	west.expect(good, "accepted")
	if err := stopped.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	during := w.count()
	Eventually(t, "writes by all", func() bool { return w.count() > during+30 })
	acknowledged := w.end()
	c.awaitVoters(3)
	c.hold(acknowledged)
	west.await(west.token(stopped, "fresh"), "accepted")
}

// TestStoppedUnderLoad ends every member in turn with SIGTERM while clients write.
func TestStoppedUnderLoad(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3)
	w := c.write(4)
	for _, m := range c.all {
		before := w.count()
		Eventually(t, "writes", func() bool { return w.count() > before+20 })
		m.term()
		m.start()
		m.awaitReady()
	}
	acknowledged := w.end()
	c.awaitVoters(3)
	c.hold(acknowledged)
}

// TestARotationWaitsForAStoppedZone: the process of a zone is held up, its connection is
// there. Nothing is signed with a key that it was sent and cannot have taken, until it goes on.
func TestARotationWaitsForAStoppedZone(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 1)
	m := c.all[0]
	west := c.startZone("west")
	west.await(west.token(m, "good"), "accepted")
	if err := west.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, said, err := m.cli("keys", "rotate", "zone-token", "--wait", "1s", "--yes")
	if err == nil || !strings.Contains(said, "west") {
		t.Errorf("a rotation beside a zone that is held up: %v\n%s", err, said)
	}
	if active := m.keys()["active"]; len(active) != 1 || active[0].Serial != 1 {
		t.Errorf("%+v signs and the zone cannot have it", active)
	}
	if err := west.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	m.completes("keys", "rotate", "zone-token", "--wait", "20s", "--yes")
	west.expect(west.token(m, "fresh"), "accepted")
}
