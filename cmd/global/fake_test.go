package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/adminapi"
)

// The ids of members, of control planes of zones and of clusters that the fake uses. No line
// that it writes shows one, unless the ids are asked for.
const (
	node1, node2, node3, node4, node9 = "00000001-0fb5-4e10-9b85-695e2dc4e1a0", "00000002-0fb5-4e10-9b85-695e2dc4e1a0",
		"00000003-0fb5-4e10-9b85-695e2dc4e1a0", "00000004-0fb5-4e10-9b85-695e2dc4e1a0", "00000009-0fb5-4e10-9b85-695e2dc4e1a0"
	instance1, instance2 = "5f0c6a4e-0000-4e10-9b85-695e2dc4e1a0", "77777777-0000-4e10-9b85-695e2dc4e1a0"
	cluster1, cluster0   = "c1c1c1c1-0000-4e10-9b85-695e2dc4e1a0", "c0c0c0c0-0000-4e10-9b85-695e2dc4e1a0"
)

// fake answers as a global does, from a state just large enough for the scripts.
// It is not ready while a file "sick" lies beside that of the requests, and its zone east is
// offline for a removal while one called "away" does.
type fake struct {
	mux *http.ServeMux
	log string // file of requests

	mu       sync.Mutex
	asked    int // how often who holds the new key
	revoked  map[string]bool
	prepared bool
	shy      int // how often activation finds no leader
	// activated says that the zone key 2 signs.
	activated bool
}

func newFake(log string) *fake {
	f := &fake{mux: http.NewServeMux(), log: log, revoked: map[string]bool{}, shy: 1}
	f.secrets()
	f.zones()
	f.keys()
	f.life()
	f.cluster()
	f.requests()
	for _, kind := range []string{"control-plane", "zone", "dataplane", "user"} {
		f.mux.HandleFunc("POST /tokens/"+kind, func(w http.ResponseWriter, _ *http.Request) {
			if f.prepared && !f.activated && kind == "zone" {
				w.Header().Set(apitypes.HeaderKeyWaiting, "zone-token-signing-key-2")
			}
			fmt.Fprintf(w, "a.%s.token", kind)
		})
	}
	f.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		index := apitypes.Index{Implementation: "Meridian", Version: "v9", InstanceID: node1}
		if r.Header.Get("Authorization") == "" {
			index.Version, index.InstanceID = "unknown", ""
		}
		reply(w, index)
	})
	f.mux.HandleFunc("GET /who-am-i", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer of-an-issuer" {
			reply(w, apitypes.WhoAmI{Name: "ci", Groups: []string{}, Via: "token", Roles: []string{"issuer", "revoker"}, Bounds: []apitypes.Bounds{
				{Role: "issuer", Kinds: []string{"zone-token", "dataplane-token"}, Zones: []string{"west"}, Meshes: []string{"*"}, Scopes: []string{"ingress", "egress"}, MaxValidity: "720h0m0s"},
				{Role: "revoker", Kinds: []string{"zone-token"}},
			}})
			return
		}
		reply(w, apitypes.WhoAmI{Name: "jane", Groups: []string{"ops", "audit"}, Via: "token", Roles: []string{"auditor"}})
	})
	f.mux.HandleFunc("POST /v1/revocations", f.revoke)
	f.mux.HandleFunc("GET /v1/support-dump", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "an archive, subjects="+r.URL.Query().Get("subjects"))
	})
	f.mux.HandleFunc("GET /v1/log-level", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, apitypes.LogLevel{Node: "n1", Level: "info", Configured: "info"})
	})
	f.mux.HandleFunc("POST /v1/log-level", func(w http.ResponseWriter, _ *http.Request) {
		until := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
		reply(w, apitypes.LogLevel{Node: "n1", Level: "debug", Configured: "info", Until: &until})
	})
	f.mux.HandleFunc("GET /healthy", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(apitypes.HeaderService, "global") })
	f.mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(apitypes.HeaderService, "global")
		if _, err := os.Stat(filepath.Join(filepath.Dir(log), "sick")); err == nil {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
		}
	})
	return f
}

// ServeHTTP notes the request and answers it. The token "a-bad-token" is refused.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	file, err := os.OpenFile(f.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		fmt.Fprintln(file, r.Method, r.URL.RequestURI(), string(body), r.Header.Get("Authorization"))
		file.Close()
	}
	if r.Header.Get("Authorization") == "Bearer a-bad-token" {
		problem(w, apitypes.Error{Status: 401, Title: "Unauthenticated", Detail: "the token's signature is wrong", Reason: "bad_signature"})
		return
	}
	w.Header().Set(apitypes.HeaderMembers, node1+"=a,"+node2+"=b,"+node3+"=c,"+node4+"=d")
	if r.Header.Get("Authorization") == "Bearer of-a-lonely-member" {
		w.Header().Set(adminapi.StaleHeader, "42")
	}
	f.mux.ServeHTTP(w, r)
}

func (f *fake) secrets() {
	global := []apitypes.Secret{
		secret("", "control-plane-signing-key-0001", "sha256:ab12", 36*time.Minute),
		secret("", "user-token-signing-key-1", "-----BEGIN RSA PUBLIC KEY-----\n", 7*time.Minute),
		secret("", "zone-token-signing-key-1", "-----BEGIN RSA PUBLIC KEY-----\nMIIB\n", 5*time.Hour),
	}
	mesh := []apitypes.Secret{secret("default", "dataplane-token-signing-key-default-1", "-----BEGIN", 49*time.Minute)}
	serve := func(path string, list []apitypes.Secret) {
		f.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { reply(w, listed(list)) })
		f.mux.HandleFunc("GET "+path+"/{name}", func(w http.ResponseWriter, r *http.Request) {
			for _, s := range list {
				if s.Name == r.PathValue("name") {
					reply(w, s)
					return
				}
			}
			problem(w, apitypes.Error{Status: 404, Title: "Could not retrieve a resource", Detail: "Not found"})
		})
	}
	serve("/global-secrets", global)
	serve("/meshes/default/secrets", mesh)
	serve("/meshes/kuma/secrets", nil)
	serve("/meshes/nowhere/secrets", nil)
}

func (f *fake) zones() {
	f.mux.HandleFunc("GET /meshes", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, listed([]apitypes.Mesh{{Type: "Mesh", Name: "default", CreationTime: before(49 * time.Minute)}}))
	})
	f.mux.HandleFunc("GET /zones", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, listed([]apitypes.Zone{{Type: "Zone", Name: "east", CreationTime: before(2 * time.Hour)}, {Type: "Zone", Name: "west", CreationTime: before(50 * time.Hour)}}))
	})
	f.mux.HandleFunc("GET /v1/zones", func(w http.ResponseWriter, _ *http.Request) {
		none := uint64(0)
		reply(w, listed([]apitypes.ZoneState{
			{Name: "east", Enabled: true, LastSeen: before(3 * time.Hour)},
			{Name: "north", Sessions: []apitypes.Session{}},
			{Name: "west", Enabled: true, Online: true, Sessions: []apitypes.Session{
				{Instance: instance1, Version: "v1", Meridian: true, Connected: before(10 * time.Minute), LastHeard: before(2 * time.Minute), Online: true, Revision: revision,
					Behind: &none, Authenticated: true, Method: "Control Plane Token", TokenSerial: 1,
					LiveKeys: []apitypes.LiveKey{{Kind: "zone", KID: "1", Sessions: 7}, {Kind: "dataplane", Mesh: "default", KID: "1", Sessions: 30}},
					KeySets:  []apitypes.KeySetUse{{Set: "dataplane/default", Count: 1, Last: *before(49 * time.Minute)}, {Set: "zone", Count: 9, Last: *before(36 * time.Minute)}}},
				{Instance: instance2, Version: "2.8.8", Connected: before(time.Hour), LastHeard: before(10 * time.Minute), Revision: revision, Nack: "disk full", Unheeded: []string{"lists of zone tokens", "cut-offs"}},
			}},
		}))
	})
}

func (f *fake) cluster() {
	leader := node1
	f.mux.HandleFunc("GET /v1/cluster", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, apitypes.Cluster{ClusterID: cluster1, Leader: leader, AnsweredBy: node2, Voters: 2, Warning: "2 voters tolerate the loss of no more members than 1 would",
			Members: []apitypes.Member{
				{ID: node1, Name: "a", Address: "a:5683", Voter: true, Leader: true, Live: true, Applied: 120, Version: "v1", Clock: &apitypes.MemberClock{}},
				{ID: node2, Name: "b", Address: "b:5683", Voter: true, Live: true, Applied: 119, Version: "v1", Clock: &apitypes.MemberClock{AheadSeconds: -4.4}},
				{ID: node3, Name: "c", Address: "c:5683", Applied: 7},
				{ID: node4, Name: "d", Address: "d:5683", NonVoter: true, Live: true, Applied: 119, Version: "v1", Clock: &apitypes.MemberClock{AheadSeconds: 3600.2, WithinSeconds: 0.001, Off: true}},
			}})
	})
	f.mux.HandleFunc("POST /v1/cluster/transfer-leader", func(w http.ResponseWriter, _ *http.Request) {
		leader = map[string]string{node1: node2, node2: node1}[leader]
		reply(w, struct{}{})
	})
	f.mux.HandleFunc("POST /v1/cluster/confirm-loss", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, apitypes.ConfirmedLoss{Revision: "0123456789abcdef-1@7"})
	})
	f.mux.HandleFunc("POST /v1/cluster/remove", func(w http.ResponseWriter, r *http.Request) {
		var body apitypes.RemoveMemberRequest
		_ = json.NewDecoder(r.Body).Decode(&body)
		if !body.Force {
			problem(w, apitypes.Error{Status: 409, Title: "Conflict", Detail: "without node " + body.ID + " no live majority is left", Hint: "bring the others back first"})
			return
		}
		reply(w, apitypes.RemovedMember{Expelled: []string{body.ID}})
	})
	f.mux.HandleFunc("GET /v1/trust", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, apitypes.Trust{Total: 2, Items: []apitypes.Truster{
			{Role: "member", Name: node1, Address: "global-1:5683", State: "reported", Trusts: []string{"sha256:0011223344556677889900"}, Shows: "sha256:0011223344556677889900"},
			{Role: "zone", Name: "west", State: "silent", Trusts: []string{}},
		}})
	})
	f.mux.HandleFunc("GET /v1/expelled", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, apitypes.ExpelledList{Total: 1, Items: []apitypes.Expelled{
			{ID: node9, Subject: "node lost", Reason: "disk stolen", By: "ann", At: time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)},
		}})
	})
	f.mux.HandleFunc("POST /v1/expelled", func(w http.ResponseWriter, _ *http.Request) { reply(w, struct{}{}) })
	f.mux.HandleFunc("DELETE /v1/expelled/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
}

func (f *fake) keys() {
	list := func() []apitypes.Key {
		keys := []apitypes.Key{
			{Kind: "control-plane", KID: "1", State: "active", Name: "control-plane-signing-key-0001", Created: before(36 * time.Minute)},
			{Kind: "zone", KID: "1", State: "active", Name: "zone-token-signing-key-1", Created: before(5 * time.Hour)},
			{Kind: "dataplane", Mesh: "default", KID: "1", State: "active", Name: "dataplane-token-signing-key-default-1", Created: before(49 * time.Minute)},
		}
		if f.activated {
			keys[1].State, keys[1].Serial = "retiring", 1
		}
		if f.prepared {
			keys = append(keys, apitypes.Key{Kind: "zone", KID: "2", State: "prepared", Name: "zone-token-signing-key-2", Created: before(3 * time.Minute)},
				apitypes.Key{Kind: "control-plane", KID: "2", State: "prepared", Name: "control-plane-signing-key-0002", Created: before(3 * time.Minute)})
		}
		return keys
	}
	f.mux.HandleFunc("GET /v1/keys", func(w http.ResponseWriter, _ *http.Request) { reply(w, listed(list())) })
	f.mux.HandleFunc("POST /v1/keys/prepare", func(w http.ResponseWriter, r *http.Request) {
		var body apitypes.KeyPrepareRequest
		_ = json.NewDecoder(r.Body).Decode(&body)
		f.prepared = true
		w.WriteHeader(http.StatusCreated)
		reply(w, nextKey(body.Kind, body.Mesh, "prepared"))
	})
	f.mux.HandleFunc("GET /v1/keys/{kind}/2/holding", func(w http.ResponseWriter, r *http.Request) {
		reply(w, apitypes.KeyHolding{Key: nextKey(r.PathValue("kind"), r.FormValue("mesh"), "prepared"), Holding: f.holding(r.PathValue("kind"), r.FormValue("mesh"))})
	})
	f.mux.HandleFunc("POST /v1/keys/activate", func(w http.ResponseWriter, r *http.Request) {
		var body apitypes.KeyStepRequest
		_ = json.NewDecoder(r.Body).Decode(&body)
		switch {
		case f.shy > 0: // the leader died: nobody knows what came of it
			f.shy--
			problem(w, apitypes.Error{Status: 503, Title: "Unavailable", Detail: "no leader is known at present", Reason: "not_leader"})
			return
		case body.Kind == "control-plane" && !body.Force:
			problem(w, apitypes.Error{Status: 409, Title: "Conflict", Detail: "key control-plane/2 is not held everywhere; members that have not reported it: " + node2,
				Reason: "not_held", Hint: "try again in a moment"})
			return
		}
		f.activated = f.activated || body.Kind == "zone"
		change := apitypes.KeyChange{Key: nextKey(body.Kind, body.Mesh, "active"), Holding: &apitypes.Holding{Offline: []string{"north"}}}
		if body.Mesh == "kuma" {
			change.Holding.Unproven, change.Holding.Kuma = []string{"west"}, []string{"west"}
		}
		if body.Force {
			change.Holding.Members = []string{node2}
		}
		reply(w, change)
	})
	f.mux.HandleFunc("POST /v1/keys/retire", func(w http.ResponseWriter, r *http.Request) {
		var body apitypes.KeyStepRequest
		_ = json.NewDecoder(r.Body).Decode(&body)
		if !body.Force {
			problem(w, apitypes.Error{Status: 409, Title: "Conflict", Detail: "retiring key zone-token 1 would leave nothing that signs a zone-token",
				Reason: "only_key", Hint: "rotate instead, which retires it: global keys rotate zone-token"})
			return
		}
		reply(w, apitypes.KeyChange{Key: apitypes.Key{Kind: body.Kind, KID: body.KID, State: "retiring", Name: "zone-token-signing-key-1"}})
	})
	f.mux.HandleFunc("POST /v1/keys/remove", func(w http.ResponseWriter, r *http.Request) {
		var body apitypes.KeyStepRequest
		_ = json.NewDecoder(r.Body).Decode(&body)
		if !body.Force && !body.Compromised {
			problem(w, apitypes.Error{Status: 409, Title: "Conflict", Detail: "removing key zone-token 1 would refuse every zone-token that was issued since May",
				Reason: "still_valid", Hint: "issue those tokens anew first, then remove the key with force (--force)"})
			return
		}
		change := apitypes.KeyChange{Key: apitypes.Key{Kind: body.Kind, KID: body.KID, State: "removed"},
			Holding: &apitypes.Holding{}, CutOff: "every zone-token that was issued since May"}
		if _, err := os.Stat(filepath.Join(filepath.Dir(f.log), "away")); err == nil {
			change.Holding.Offline = []string{"east"}
		}
		if body.Kind == "dataplane" {
			change.Holding.Kuma = []string{"west"}
		}
		reply(w, change)
	})
}

// holding differs by kind: zone keys are held at the third question, user keys at
// once, control plane keys never, and of dataplane keys a zone is offline; in the mesh
// kuma a zone runs Kuma's control plane.
func (f *fake) holding(kind, mesh string) apitypes.Holding {
	f.asked++
	switch {
	case mesh == "kuma":
		return apitypes.Holding{Open: true, Held: []string{"east"}, Unproven: []string{"west"}, Kuma: []string{"west"}}
	case kind == "zone" && f.asked < 3:
		return apitypes.Holding{Held: []string{"east"}, Waiting: []string{"west"}, Members: []string{node1}}
	case kind == "control-plane":
		return apitypes.Holding{Members: []string{node2}}
	case kind == "dataplane":
		return apitypes.Holding{Open: true, Offline: []string{"north"}}
	}
	return apitypes.Holding{Open: true, Held: []string{"east", "west"}}
}

func (f *fake) revoke(w http.ResponseWriter, r *http.Request) {
	var body apitypes.RevokeRequest
	_ = json.NewDecoder(r.Body).Decode(&body)
	if body.Token != "" {
		body.Kind, body.IDs = "zone", []string{"d602fcb4-c4e4-44d6-8fad-1c40fb97c3ca"}
	}
	result := apitypes.RevokeResult{Kind: body.Kind, Mesh: body.Mesh, Revision: "0123456789abcdef-1795324516000@42", IDs: body.IDs}
	if body.Kind == "user" {
		result.InForce = apitypes.AtGlobal
	}
	if slices.Contains(body.IDs, "at-kuma") {
		result.Unheeding = []apitypes.UnheedingZone{{Zone: "old", Version: "2.8.8", What: "lists of zone tokens"}, {Zone: "older", What: "lists of zone tokens"}}
	}
	if slices.Contains(body.IDs, "goes-on") {
		result.Warnings = []string{"new (Kuma 2.14.3) does not heed revocations on open streams"}
	}
	if body.Compare && body.Token == "" {
		result.Compared = &apitypes.Compared{Unknown: []string{}}
		for _, id := range body.IDs {
			switch id {
			case "of-jane":
				result.Compared.Elsewhere = append(result.Compared.Elsewhere, apitypes.KnownID{ID: id, Kind: "dataplane", Mesh: "default"})
			case "of-nobody", "0d4cd35c-8b5e-4ba4-8b8c-0b3d6f6bb5c4":
				result.Compared.Unknown = append(result.Compared.Unknown, id)
				result.Compared.Silent, result.Compared.Others = []string{node2}, []string{"ci-1"}
			}
		}
	}
	for _, id := range body.IDs {
		if !f.revoked[id] {
			f.revoked[id] = true
			result.Revoked++
		}
	}
	reply(w, result)
}

func nextKey(kind, mesh, state string) apitypes.Key {
	k := apitypes.Key{Kind: kind, Mesh: mesh, KID: "2", State: state, Name: kind + "-token-signing-key-2"}
	if mesh != "" {
		k.Name = kind + "-token-signing-key-" + mesh + "-2"
	}
	return k
}

func secret(mesh, name, data string, age time.Duration) apitypes.Secret {
	return apitypes.Secret{Type: "GlobalSecret", Mesh: mesh, Name: name, CreationTime: before(age), Data: []byte(data)}
}

// before is a time so long ago. The scripts use minutes and more, so that a slow
// machine shows the same age.
func before(d time.Duration) *time.Time {
	t := time.Now().Add(-d).UTC()
	return &t
}

func listed[T any](items []T) apitypes.List[T] {
	return apitypes.List[T]{Total: len(items), Items: items}
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func problem(w http.ResponseWriter, e apitypes.Error) {
	w.WriteHeader(e.Status)
	reply(w, e)
}

// unsigned makes a token in form, with a signature of nothing.
func unsigned(header, claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(header)) + "." + enc([]byte(claims)) + "." + enc([]byte("no signature"))
}

// backups serves a file as the backup of the cluster, its first half once a file "cut"
// lies beside that of the requests, and takes one with force only.
func (f *fake) backups(file string) {
	f.mux.HandleFunc("GET /v1/snapshot", func(w http.ResponseWriter, _ *http.Request) {
		data, err := os.ReadFile(file)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(f.log), "cut")); err == nil {
			data = data[:len(data)/2]
		}
		_, _ = w.Write(data)
	})
	f.mux.HandleFunc("POST /v1/snapshot/restore", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("force") != "true" {
			problem(w, apitypes.Error{Status: 409, Title: "Conflict", Detail: "cluster " + cluster1 + " holds state", Reason: "holds_state", Hint: "give --force to replace it"})
			return
		}
		data, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		done := apitypes.RestoreResult{Backup: apitypes.Backup{ClusterID: cluster1, Revision: "a@1", Bytes: int64(len(data)), ClusterSecret: 2}, Revision: "b@9"}
		if r.URL.Query().Get("cluster") == cluster1 && r.URL.Query().Get("clusterSecret") == "2" {
			done.Replaced = cluster0
		}
		reply(w, done)
	})
	seal := apitypes.Seal{NodeID: node1, Active: "0a0a0a0a", First: "0b0b0b0b", CanSign: false, CannotOpen: []string{"zone/3"}, ClusterSecret: 2, Keys: []apitypes.SealKey{
		{ID: "0b0b0b0b", Held: true}, {ID: "0a0a0a0a", Held: true, Sealed: 4}, {ID: "0c0c0c0c", Sealed: 1},
	}}
	f.mux.HandleFunc("GET /v1/seal", func(w http.ResponseWriter, _ *http.Request) { reply(w, seal) })
	f.mux.HandleFunc("POST /v1/seal/rotate-cluster-secret", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, apitypes.SecretRotation{Generation: 4})
	})
	f.mux.HandleFunc("POST /v1/seal/rotate", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, apitypes.SealRotation{Under: "0b0b0b0b", Keys: 5, Dropped: []string{"0a0a0a0a"}, ClusterSecret: 3})
	})
}
