package cluster

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
	"github.com/meridiankds/meridian/internal/test/raftfake"
	"github.com/meridiankds/meridian/raftstore"
)

// The random schedules of faults and operations. What a seed determines is what is done;
// when the machine gets round to it differs from run to run, as it does in the field.
var (
	scheduleFor  = flag.Duration("schedule.for", 8*time.Second, "how long random schedules of operations and faults run")
	scheduleSeed = flag.Uint64("schedule.seed", 0, "replay the schedule of this seed; 0: a random one")
)

// What is done to one id of the list of revoked zone tokens.
type idOp struct {
	kind string // revoke, withdraw, read, restore; keep and go back of disks
	id   string
	set  bool // what a restore makes of it
}

// idState is whether an id is revoked, and whether the disks have it that are kept to be put
// back.
type idState struct{ revoked, kept bool }

// idModel is the list as a register for each id. An operation whose outcome nobody knows
// has no end, so that it may take effect at any time, or never.
var idModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byID := map[string][]porcupine.Operation{}
		for _, op := range history {
			id := op.Input.(idOp).id
			byID[id] = append(byID[id], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byID {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return idState{} },
	Step: func(state, input, output any) (bool, any) {
		now := state.(idState)
		switch op := input.(idOp); op.kind {
		case "revoke":
			now.revoked = true
		case "withdraw":
			now.revoked = false
		case "restore":
			now.revoked = op.set
		case "keep":
			now.kept = now.revoked
		case "go back":
			now.revoked = now.kept
		default:
			return output.(bool) == now.revoked, now
		}
		return true, now
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %v", input, output) },
}

// schedule is one run: a cluster with zones, workers that operate on it, and faults.
type schedule struct {
	t     *testing.T
	c     *Globals
	zones []*Zone
	kds   []*Relay
	seed  uint64
	// messages are those of Raft, and of KDS with all zones but the last, whose
	// connections are its own up to the member.
	messages *messages
	secrets  needles
	begun    time.Time
	stop     chan struct{}
	aimed    chan struct{} // closed when each fault that is aimed was made once

	mu       sync.Mutex
	history  []porcupine.Operation
	ids      []string          // shared ones, revoked and withdrawn at will
	once     map[string]string // ids that are revoked once, by the revision that acknowledged it
	backup   []byte
	inBackup map[string]bool
	restored atomic.Int64 // restores that may have been made, and losses of all disks
	disks    keptDisks

	// Tokens that every zone is shown all the while, by what each zone must say.
	good, stolen, foreign map[string]string

	unknown, learnt, faults, done atomic.Int64
	// untold are outcomes that stayed unknown while the leader was cut off on purpose, and
	// lagged how often a zone was at a member that had less.
	untold, lagged atomic.Int64
}

// source returns the random numbers of one worker: the same for the same seed.
func (s *schedule) source(worker uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, worker)) }

// record runs an operation and notes when it began and ended. do returns the output, and
// whether it was done, not done, or nobody knows.
func (s *schedule) record(worker int, op idOp, do func() (output bool, known, made bool)) {
	call := time.Since(s.begun).Nanoseconds()
	output, known, made := do()
	end := time.Since(s.begun).Nanoseconds()
	if known && !made {
		return // it says that it changed nothing, which later reads hold it to
	}
	if !known {
		s.unknown.Add(1)
		end = 1 << 62
	}
	s.done.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history, porcupine.Operation{ClientId: worker, Input: op, Call: call, Output: output, Return: end})
}

// everyID are all ids that anything was done to.
func (s *schedule) everyID() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(append([]string{}, s.ids...), keysOf(s.once)...)
}

// perID is the history with each restore, and what is done to disks, as one operation on
// every id.
func (s *schedule) perID() []porcupine.Operation {
	var all []porcupine.Operation
	for _, op := range s.history {
		in := op.Input.(idOp)
		if in.id != "" {
			all = append(all, op)
			continue
		}
		for _, id := range s.everyID() {
			op.Input = idOp{kind: in.kind, id: id, set: s.inBackup[id]}
			all = append(all, op)
		}
	}
	return all
}

func keysOf[V any](m map[string]V) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	return all
}

// write sends a change to a member and says what is known of it.
func (s *schedule) write(g *Global, method, path string, body any, request string) (status int, answer []byte, known, made bool) {
	var data []byte
	contentType := "application/json"
	switch b := body.(type) {
	case []byte:
		data, contentType = b, "application/octet-stream"
	default:
		data, _ = json.Marshal(b) // of types of ours
	}
	req, err := http.NewRequest(method, "http://"+g.node().Endpoints().API+path, bytes.NewReader(data))
	if err != nil {
		s.t.Error(err)
		return 0, nil, true, false
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Request-Id", request)
	client := http.Client{Timeout: 4 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, false, false
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	switch {
	case err != nil, resp.StatusCode == http.StatusGatewayTimeout, resp.StatusCode == http.StatusInternalServerError:
		return resp.StatusCode, answer, false, false
	case resp.StatusCode < 300:
		return resp.StatusCode, answer, true, true
	}
	return resp.StatusCode, answer, true, false
}

// member picks one.
func (s *schedule) member(r *rand.Rand) *Global { return s.c.Members[r.IntN(len(s.c.Members))] }

// operate is a worker that works until the schedule ends.
func (s *schedule) operate(worker int) {
	r := s.source(uint64(worker))
	for {
		select {
		case <-s.stop:
			return
		default:
		}
		id := s.ids[r.IntN(len(s.ids))]
		switch n := r.IntN(20); {
		case n < 5:
			s.change(worker, r, "revoke", id)
		case n < 9:
			s.change(worker, r, "withdraw", id)
		case n < 12:
			s.revokeOnce(worker, r)
		case n < 19:
			s.read(worker, r, id)
		case worker == 0:
			s.restore(worker, r)
		default:
			s.rotateOrDisable(r)
		}
	}
}

// change revokes or withdraws; now and then the request arrives twice.
func (s *schedule) change(worker int, r *rand.Rand, kind, id string) (revision string) {
	path, body := "/v1/revocations", any(apitypes.RevokeRequest{Kind: "zone", IDs: []string{id}})
	if kind == "withdraw" {
		path, body = "/v1/revocations/withdraw", apitypes.WithdrawRequest{Kind: "zone", IDs: []string{id}}
	}
	request := uuid.NewString()
	var twice sync.WaitGroup
	doubled := r.IntN(4) == 0
	if doubled {
		other := s.member(r)
		twice.Go(func() {
			s.record(worker+100, idOp{kind: kind, id: id}, func() (bool, bool, bool) {
				_, _, known, made := s.write(other, "POST", path, body, request)
				return false, known, made
			})
		})
	}
	g, asked := s.member(r), s.member(r)
	s.record(worker, idOp{kind: kind, id: id}, func() (bool, bool, bool) {
		_, answer, known, made := s.write(g, "POST", path, body, request)
		var result apitypes.RevokeResult
		if made && json.Unmarshal(answer, &result) == nil {
			revision = result.Revision
		}
		if !known && !doubled {
			known, made = s.whatBecameOf(asked, request)
		}
		return false, known, made
	})
	twice.Wait()
	return revision
}

// whatBecameOf asks a member, for a while, about a request whose outcome is unknown.
func (s *schedule) whatBecameOf(g *Global, request string) (known, made bool) {
	for range 3 {
		var told apitypes.RequestOutcome
		r, err := g.ask("GET", "/v1/requests/"+request, nil)
		if err == nil && r.status == http.StatusOK && json.Unmarshal(r.body, &told) == nil {
			switch told.Outcome {
			case apitypes.OutcomeApplied:
				s.learnt.Add(1)
				return true, true
			case apitypes.OutcomeRefused:
				return true, false
			}
			return false, false // it may still be on its way
		}
		time.Sleep(300 * time.Millisecond) // between two attempts of a client
	}
	return false, false
}

// revokeOnce revokes an id that nobody ever withdraws: a zone that has it keeps it.
func (s *schedule) revokeOnce(worker int, r *rand.Rand) {
	id := uuid.NewString()
	s.mu.Lock()
	s.once[id] = ""
	s.mu.Unlock()
	s.acknowledged(id, s.change(worker, r, "revoke", id))
}

// read is linearizable: the member makes sure that it leads, and has what was
// acknowledged, before it looks.
func (s *schedule) read(worker int, r *rand.Rand, id string) {
	g := s.member(r)
	s.record(worker, idOp{kind: "read", id: id}, func() (bool, bool, bool) {
		store := g.node().Store()
		if _, err := store.ReadIndex(); err != nil {
			return false, true, false
		}
		return store.View().Revoked(cptoken.Zone, "", id), true, true
	})
}

// restore goes back to the backup of the beginning.
func (s *schedule) restore(worker int, r *rand.Rand) {
	g := s.member(r)
	s.disks.restoring.RLock()
	defer s.disks.restoring.RUnlock()
	s.record(worker, idOp{kind: "restore"}, func() (bool, bool, bool) {
		s.restored.Add(1)
		_, _, known, made := s.write(g, "POST", "/v1/snapshot/restore?"+url.Values{"force": {"true"}}.Encode(), s.backup, uuid.NewString())
		return false, known, made
	})
}

// rotateOrDisable takes a step in the life of keys and zones; what it comes to is checked
// by the invariants, not by the model.
func (s *schedule) rotateOrDisable(r *rand.Rand) {
	g := s.member(r)
	switch r.IntN(4) {
	case 0:
		enabled := r.IntN(3) > 0
		s.write(g, "PUT", "/zones/"+s.zones[0].Name, map[string]any{"type": "Zone", "name": s.zones[0].Name, "enabled": enabled}, uuid.NewString())
	case 1:
		for _, k := range g.node().Store().Keys() {
			if k.ID.Kind == cptoken.Zone && k.State == cptoken.Retiring {
				s.write(g, "POST", "/v1/keys/remove", apitypes.KeyStepRequest{Kind: "zone", KID: k.ID.KID, Force: true}, uuid.NewString())
				return
			}
		}
	default:
		var key apitypes.Key
		_, answer, _, made := s.write(g, "POST", "/v1/keys/prepare", apitypes.KeyPrepareRequest{Kind: "zone"}, uuid.NewString())
		if made && json.Unmarshal(answer, &key) == nil {
			s.write(s.member(r), "POST", "/v1/keys/activate", apitypes.KeyStepRequest{Kind: "zone", KID: key.KID}, uuid.NewString())
		}
	}
}

// disturb does things to the networks until the schedule ends.
func (s *schedule) disturb() {
	r := s.source(1 << 32)
	func() {
		defer close(s.aimed)
		s.cutTheLeader() // even the shortest schedule has each of these once
		s.giveAZoneToOneThatLags()
		s.rollBackAZone(r)
		s.rollBackAMember(r)
		s.rollBackAll()
	}()
	for {
		select {
		case <-s.stop:
			return
		case <-time.After(time.Duration(100+r.IntN(700)) * time.Millisecond):
		}
		s.faults.Add(1)
		a, b := s.member(r).Name, s.member(r).Name
		relay := s.kds[r.IntN(len(s.kds))]
		switch r.IntN(14) {
		case 0:
			s.c.Net.Cut(a, true)
		case 1: // one way
			s.c.Net.Shape(a, b, Lane{Stalled: true})
		case 2:
			s.c.Net.Shape(a, b, Lane{Delay: time.Duration(r.IntN(120)) * time.Millisecond, Jitter: 50 * time.Millisecond})
		case 3:
			s.c.Net.Reset(a, b)
		case 4:
			relay.Stall()
		case 5:
			relay.Cut()
		case 6: // the zone hops
			relay.Retarget(s.member(r).KDS())
		case 7:
			relay.Resume()
		case 8: // one way, and most messages, not all
			s.messages.Between(s.id(a), s.id(b), true)
		case 9:
			zone := s.zones[r.IntN(len(s.zones))].Name
			if ends := [2]string{zone, aMember}; r.IntN(2) == 0 {
				s.messages.Between(ends[0], ends[1], true)
			} else {
				s.messages.Between(ends[1], ends[0], true)
			}
		case 10:
			s.cutTheLeader()
		case 11:
			s.giveAZoneToOneThatLags()
		case 12:
			switch r.IntN(6) {
			case 0:
				s.rollBackAll()
			case 1, 2:
				s.rollBackAMember(r)
			default:
				s.rollBackAZone(r)
			}
		default:
			s.c.Net.Heal()
			s.messages.Heal()
		}
	}
}

// id is the node id of a member.
func (s *schedule) id(name string) string {
	for _, g := range s.c.Members {
		if g.Name == name {
			return g.Node.Store().NodeID()
		}
	}
	return ""
}

// TestRandomSchedules runs operations under faults of every network and of single messages
// between members, and between members and zones. What clients were told is linearizable, and every invariant
// holds of members and zones once the networks are whole again.
//
//	go test ./internal/test/cluster -run TestRandomSchedules -schedule.for 10m -schedule.seed 42
func TestRandomSchedules(t *testing.T) {
	t.Parallel()
	s := &schedule{
		t: t, seed: *scheduleSeed, stop: make(chan struct{}), aimed: make(chan struct{}), once: map[string]string{}, inBackup: map[string]bool{},
		disks: keptDisks{members: map[*Global]putBack{}, zones: map[*Zone]string{}, watched: map[*Zone]*watched{}, lost: map[federation.History]bool{}},
	}
	if s.seed == 0 {
		s.seed = rand.Uint64()
	}
	t.Logf("replay with -schedule.seed %d", s.seed)
	s.messages = newMessages(s.source(1 << 33))
	t.Cleanup(s.messages.End) // after the nodes have ended
	s.c = NewGlobals(t, verbose(t), 3)
	s.c.Configure = func(cfg *globalnode.Config) {
		cfg.WrapTransport, cfg.AskPeers = raftfake.Wrap(s.messages.Raft), s.disks.patience
	}
	s.c.Launch(3)
	for i, g := range s.c.Members {
		relay := NewRelay(t, g.KDS())
		name, addr := []string{"west", "east", "north"}[i], relay.Addr()
		if i < 2 {
			addr = s.messages.KDS(t, s.c, name, addr).Addr()
		}
		z := s.c.Leader().StartZone(name, addr)
		s.kds, s.zones = append(s.kds, relay), append(s.zones, z)
		s.disks.watched[z] = &watched{}
	}
	s.zoneTokens()
	s.secrets = signingKeysOf(t, s.c.Leader())
	for range 4 {
		s.ids = append(s.ids, uuid.NewString())
	}
	s.begun = time.Now()
	for _, z := range s.zones {
		z.WaitCurrent(s.c.Leader())
	}
	for _, id := range s.ids[:2] {
		s.inBackup[id] = true
		s.record(0, idOp{kind: "revoke", id: id}, func() (bool, bool, bool) {
			s.c.eventually(t, operation{name: "a revocation", ask: func(g *Global, request string) (reply, error) {
				return g.ask("POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "zone", IDs: []string{id}}, "X-Request-Id", request)
			}})
			return false, true, true
		})
	}
	var backup bytes.Buffer
	Eventually(t, "a backup", func() bool {
		backup.Reset()
		return s.c.Leader().Node.Store().Save(t.Context(), raftstore.SaveOptions{}, &backup) == nil
	})
	s.backup = backup.Bytes()
	s.keepDisks()
	var all sync.WaitGroup
	s.messages.Begin()
	for worker := range 4 {
		all.Go(func() { s.operate(worker) })
	}
	all.Go(s.disturb)
	for _, z := range s.zones {
		all.Go(func() { s.watch(z) })
	}
	time.Sleep(*scheduleFor) // how long it runs is what the flag says
	<-s.aimed
	close(s.stop)
	all.Wait()
	s.heal()
	s.check()
}
