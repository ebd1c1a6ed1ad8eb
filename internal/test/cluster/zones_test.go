package cluster

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/keysync"
)

// zoneProcess is a zone control plane as a process.
type zoneProcess struct {
	*process
	of        *nodes
	name, dir string
	bin       programs // none: ours
	extra     []string
	wrap      []string
}

// programs are those that the zone is started with and asked by.
func (z *zoneProcess) programs() programs {
	if z.bin == (programs{}) {
		return binaries(z.of.t, "")
	}
	return z.bin
}

// startInUse starts zone west, which accepts the token that is returned, and has an id
// revoked at a node.
func (c *nodes) startInUse(at *node) (west *zoneProcess, good, id string) {
	c.t.Helper()
	west, id = c.startZone("west"), uuid.NewString()
	good = west.token(at, "good")
	west.await(good, "accepted")
	at.completes("revoke", "--kind", "zone-token", id)
	return west, good, id
}

// startZone starts a zone that knows every node's KDS port.
func (c *nodes) startZone(name string) *zoneProcess {
	c.t.Helper()
	return c.startZoneOf(name, programs{})
}

// startZoneOf is startZone with programs of another version.
func (c *nodes) startZoneOf(name string, bin programs) *zoneProcess {
	c.t.Helper()
	z := &zoneProcess{of: c, name: name, dir: c.path("zone-" + name), bin: bin}
	c.file(name+".cp", []byte(c.running()[0].must("generate", "control-plane-token", "--zone", name)))
	z.start()
	return z
}

func (z *zoneProcess) start() {
	z.of.t.Helper()
	z.launch()
	z.endpoints(z.dir)
}

// launch is start that does not wait until the zone serves.
func (z *zoneProcess) launch() {
	z.of.t.Helper()
	_ = os.Remove(filepath.Join(z.dir, endpoints.FileName))
	args := append(append([]string{}, z.wrap...), z.programs().zone, "server", "--zone", z.name,
		"--cp-token-file", z.of.path(z.name+".cp"), "--ca-file", z.of.path("ca.crt"), "--data-dir", z.dir,
		"--dp-addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0", "--diagnostics-addr", "127.0.0.1:0")
	for _, m := range z.of.all {
		args = append(args, "--global-address", m.kds)
	}
	args = append(args, z.extra...)
	z.process = spawn(z.of.t, args[0], args[1:]...)
}

// token has a node issue a token for the zone and keeps it in a file.
func (z *zoneProcess) token(m *node, name string) (file string) {
	z.of.t.Helper()
	return z.of.file(name+".token", []byte(m.must("generate", "zone-token", "--zone", z.name, "--scope", "egress")))
}

// verify is "accepted", or what the zone says of a token.
func (z *zoneProcess) verify(file string) string {
	_, said, err := command(z.programs().zone, "verify", "--data-dir", z.dir, "--token-file", file, "--proxy-type", "egress")
	if err == nil {
		return "accepted"
	}
	return said
}

// await waits until the zone says that of a token.
func (z *zoneProcess) await(file, verdict string) {
	z.of.t.Helper()
	said := ""
	Eventually(z.of.t, "zone "+z.name+" to say "+verdict+" of "+filepath.Base(file), func() bool {
		said = z.verify(file)
		return strings.Contains(said, verdict)
	})
}

// expect wants the zone to say that of a token now.
func (z *zoneProcess) expect(file, verdict string) {
	z.of.t.Helper()
	if said := z.verify(file); !strings.Contains(said, verdict) {
		z.of.t.Errorf("zone %s says of %s: %s, want %s", z.name, filepath.Base(file), said, verdict)
	}
}

// revision is what the zone says that it holds.
func (z *zoneProcess) revision() federation.Revision {
	z.of.t.Helper()
	var rev federation.Revision
	Eventually(z.of.t, "the status of zone "+z.name, func() bool {
		var status struct {
			Revision string `json:"revision"`
		}
		out, _, err := command(z.programs().zone, "status", "--data-dir", z.dir, "-o", "json")
		if err == nil {
			err = json.Unmarshal([]byte(out), &status)
		}
		if err == nil {
			rev, err = federation.ParseRevision(status.Revision)
		}
		return err == nil
	})
	return rev
}

// onDisk is what the file of a zone that does not run holds, and whether a token is
// revoked by it.
func (z *zoneProcess) onDisk(token string) (rev federation.Revision, revoked bool) {
	z.of.t.Helper()
	z.readDisk(func(view *keysync.View) {
		rev, revoked = view.Revision(), view.Revoked(cptoken.Zone, "", tokenID(z.of.t, token))
	})
	return rev, revoked
}

// readDisk looks at what the file of a zone that does not run holds, in a copy.
func (z *zoneProcess) readDisk(look func(*keysync.View)) {
	z.of.t.Helper()
	data, err := os.ReadFile(filepath.Join(z.dir, "zone.db"))
	if err != nil {
		z.of.t.Fatal(err)
	}
	store, err := keysync.Open(z.of.file("copy-of-"+z.name+".db", data), keysync.Options{Zone: z.name})
	if err != nil {
		z.of.t.Fatal(err)
	}
	defer store.Close()
	look(store.View())
}
