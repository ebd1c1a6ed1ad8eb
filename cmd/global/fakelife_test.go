package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/meridiankds/meridian/internal/apitypes"
)

const revision = "0123456789abcdef-1795324516000@42"

// life adds to the fake what is asked of revocations in bulk, of cut-offs, and of
// single zones.
func (f *fake) life() {
	f.mux.HandleFunc("GET /v1/public-keys", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, listed([]apitypes.PublicKey{
			{Type: "PublicKey", Kind: "zone", KID: "ci-1", Zones: []string{"west"}, Scopes: []string{"egress"}, MaxLifetime: "720h0m0s", NotInKeySet: "it is bound to zones west", CreationTime: before(49 * time.Minute)},
			{Type: "PublicKey", Kind: "dataplane", Mesh: "default", KID: "ci-1", AllowNoID: true, CreationTime: before(2 * time.Hour)},
		}))
	})
	f.mux.HandleFunc("PUT /v1/public-keys/{kind}/{kid}", func(w http.ResponseWriter, r *http.Request) {
		var body apitypes.PublicKey
		_ = json.NewDecoder(r.Body).Decode(&body)
		reply(w, body)
	})
	f.mux.HandleFunc("DELETE /v1/public-keys/{kind}/{kid}", func(w http.ResponseWriter, r *http.Request) {
		reply(w, apitypes.KeyChange{CutOff: "every " + r.PathValue("kind") + " that was signed with key " + r.PathValue("kid") + ", which is not here"})
	})
	f.mux.HandleFunc("POST /v1/revocations/bulk", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		ids := strings.FieldsFunc(string(body), func(c rune) bool { return c == '\n' || c == ',' })
		for i, id := range ids {
			if strings.Contains(id, " ") {
				problem(w, apitypes.Error{Status: 400, Title: "Bad Request", Detail: fmt.Sprintf("ids: line %d is not a token's id", i+1),
					Hint: "nothing was changed: correct the line and send the list again"})
				return
			}
		}
		result := apitypes.RevokeResult{Kind: r.FormValue("kind"), Mesh: r.FormValue("mesh"), Revision: revision, Given: len(ids), IDs: []string{}}
		if r.FormValue("withdraw") == "true" {
			result.Withdrawn = len(ids)
		} else {
			result.Revoked = len(ids) - 1
		}
		reply(w, result)
	})
	f.mux.HandleFunc("POST /v1/revocations/withdraw", func(w http.ResponseWriter, r *http.Request) {
		var body apitypes.WithdrawRequest
		_ = json.NewDecoder(r.Body).Decode(&body)
		reply(w, apitypes.WithdrawResult{Kind: body.Kind, Mesh: body.Mesh, Withdrawn: 1, Revision: revision, IDs: body.IDs})
	})
	for _, path := range []string{"/v1/cut-offs", "/v1/cut-offs/withdraw"} {
		f.mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			var body apitypes.CutOffRequest
			_ = json.NewDecoder(r.Body).Decode(&body)
			result := apitypes.CutOffResult{CutOff: apitypes.CutOff{Kind: body.Kind, Mesh: body.Mesh, KID: body.KID}, Changed: true, Revision: revision}
			if at, err := time.Parse(time.RFC3339, body.Before); err == nil {
				result.Before = &at
			}
			reply(w, result)
		})
	}
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	f.mux.HandleFunc("GET /v1/audit", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("class") == "nonsense" {
			problem(w, apitypes.Error{Status: 400, Title: "Bad Request", Detail: `class: "nonsense" is none: use change, revocation, issue or refusal`})
			return
		}
		if r.FormValue("class") == "issue" && r.FormValue("outcome") == "done" {
			reply(w, issuedLog())
			return
		}
		list := apitypes.Audit{Silent: []string{}, Items: []apitypes.AuditRecord{
			{Time: at.Add(3 * time.Second), Member: node1, Seq: 9, Class: "refusal", Remote: "192.0.2.7:4711", Action: "get zones", Outcome: "refused", Status: 401, Reason: "expired"},
			{Time: at.Add(2 * time.Second), Member: node2, Seq: 4, Class: "issue", User: "ci", Via: "token", Remote: "192.0.2.8:1", Action: "generate zone-token", Outcome: "done", Status: 200,
				About: map[string]string{"zone": "west", "jti": "0d4cd35c", "kind": "zone"}},
			{Time: at, Member: node1, Seq: 7, Class: "change", User: "jane", Via: "token", Remote: "192.0.2.9:1", Action: "disable zone", Outcome: "done", Status: 200,
				About: map[string]string{"zone": "west", "enabled": "false"}, Revision: revision},
		}}
		next := "http://global/v1/audit?before=abc"
		switch {
		case r.FormValue("before") == "abc":
			list.Items, list.Silent = list.Items[2:], []string{node3}
		case r.FormValue("size") != "100":
			list.Items, list.Next = list.Items[:2], &next
		}
		reply(w, list)
	})
	f.mux.HandleFunc("GET /v1/cut-offs", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, listed([]apitypes.CutOff{
			{Kind: "user", Before: &at, Reason: "audit", By: "jane", At: before(3 * time.Hour)},
			{Kind: "dataplane", Mesh: "default", KID: "2", Before: &at, By: "jane", At: before(5 * time.Minute)},
		}))
	})
	f.mux.HandleFunc("GET /v1/revocation-lists", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, listed([]apitypes.RevocationList{
			{Kind: "zone", Name: "zone-token-revocations", Revoked: 3},
			{Kind: "dataplane", Mesh: "default", Name: "dataplane-token-revocations-default"},
		}))
	})
	f.mux.HandleFunc("GET /v1/revocations", func(w http.ResponseWriter, r *http.Request) {
		all := []apitypes.Revocation{
			{ID: "id-1", By: "jane", At: before(5 * time.Hour), Reason: "lost", Index: 42},
			{ID: "id-2", By: "jane", At: before(49 * time.Minute), Expires: &at},
			{ID: "id-3", By: "joe", At: before(7 * time.Minute), Reason: "stolen"},
		}
		limit, _ := strconv.Atoi(r.FormValue("limit"))
		list := apitypes.List[apitypes.Revocation]{Total: len(all), Items: []apitypes.Revocation{}}
		for i, item := range all {
			if item.ID <= r.FormValue("after") || !strings.HasPrefix(item.ID, r.FormValue("id")) {
				continue
			}
			if len(list.Items) == min(limit, 2) { // pages of two, whatever is asked
				next := "http://elsewhere/v1/revocations?after=" + all[i-1].ID
				list.Next = &next
				break
			}
			list.Items = append(list.Items, item)
		}
		reply(w, list)
	})
	stored := map[string]apitypes.Zone{}
	f.mux.HandleFunc("GET /zones/{name}", func(w http.ResponseWriter, r *http.Request) {
		if z, ok := stored[r.PathValue("name")]; ok {
			reply(w, z)
			return
		}
		if name := r.PathValue("name"); name != "west" && name != "same" {
			problem(w, apitypes.Error{Status: 404, Title: "Could not retrieve a resource", Detail: "Not found", Hint: "there is no zone " + name})
			return
		}
		enabled := true
		reply(w, apitypes.Zone{Type: "Zone", Name: r.PathValue("name"), Enabled: &enabled})
	})
	f.mux.HandleFunc("PUT /zones/{name}", func(w http.ResponseWriter, r *http.Request) {
		reply(w, apitypes.Zone{Type: "Zone", Name: r.PathValue("name")})
	})
	f.mux.HandleFunc("PUT /v1/zones/{name}", func(w http.ResponseWriter, r *http.Request) {
		var z apitypes.Zone
		if err := json.NewDecoder(r.Body).Decode(&z); err != nil {
			panic(err)
		}
		stored[z.Name] = z
		reply(w, z)
	})
	f.mux.HandleFunc("PUT /meshes/{name}", func(w http.ResponseWriter, r *http.Request) {
		reply(w, apitypes.Mesh{Type: "Mesh", Name: r.PathValue("name")})
	})
	written := func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("mesh") == "nowhere" {
			problem(w, apitypes.Error{Status: 404, Title: "Could not retrieve a resource", Detail: "Not found", Hint: "there is no mesh nowhere"})
			return
		}
		change := apitypes.SecretChange{Type: "GlobalSecret", Name: r.PathValue("name")}
		if strings.Contains(change.Name, "-signing-key-") && r.Method == http.MethodPut {
			change.Holding = &apitypes.Holding{Waiting: []string{"west"}, Members: []string{}}
		} else if r.Method == http.MethodDelete {
			change.CutOff = "every zone token of key 1"
		}
		if r.PathValue("mesh") == "kuma" {
			change.Warnings = []string{"these zones run Kuma's control plane: west"}
		}
		reply(w, change)
	}
	for _, path := range []string{"/global-secrets/{name}", "/meshes/{mesh}/secrets/{name}"} {
		f.mux.HandleFunc("PUT "+path, written)
		f.mux.HandleFunc("DELETE "+path, written)
	}
	f.mux.HandleFunc("DELETE /meshes/{name}", func(w http.ResponseWriter, _ *http.Request) { reply(w, apitypes.Mesh{}) })
	f.mux.HandleFunc("DELETE /zones/{name}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") == "nowhere" {
			problem(w, apitypes.Error{Status: 404, Title: "Could not retrieve a resource", Detail: "Not found", Hint: "there is no zone nowhere"})
			return
		}
		delete(stored, r.PathValue("name"))
		reply(w, apitypes.Zone{Type: "Zone", Name: r.PathValue("name")})
	})
	f.mux.HandleFunc("GET /v1/zones/{name}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") != "west" {
			problem(w, apitypes.Error{Status: 404, Title: "Could not retrieve a resource", Detail: "Not found", Hint: "there is no such zone"})
			return
		}
		none, some, seconds := uint64(0), uint64(3), 90.5
		reply(w, apitypes.ZoneDetail{
			ZoneState: apitypes.ZoneState{Name: "west", Enabled: true, Online: true, FirstSeen: &at, Sessions: []apitypes.Session{
				{Instance: instance1, Version: "v1", Meridian: true, Member: node1, Remote: "192.0.2.7:4711", Connected: &at, LastHeard: &at, Online: true,
					Revision: "0123456789abcdef-1795324516000@42", Behind: &none, Authenticated: true, Method: "Control Plane Token",
					TokenSerial: 1, TokenID: "7d444840-9dc0-11d1-b245-5ffdce74fad2", TokenExpires: &at},
				{Instance: instance2, Member: node2, Connected: &at, Disconnected: &at, Revision: "none", Behind: &some, BehindSeconds: &seconds,
					Method: "none", Verdict: "expired"},
			}},
			Relay: &apitypes.Relay{Meshes: []string{"default"}}, Revision: "0123456789abcdef-1795324516000@42",
			Waits: []string{"activation of zone-token-signing-key-2"}, AnsweredBy: node1, Leader: true, AgeSeconds: 0.7,
		})
	})
}

// issuedLog is what the members logged of tokens: one that was renewed, one that is revoked,
// one that expired, and one of a key that is gone; a member is silent.
func issuedLog() apitypes.Audit {
	record := func(member, user, ago, in string, about map[string]string) apitypes.AuditRecord {
		back, _ := time.ParseDuration(ago)
		ahead, _ := time.ParseDuration(in)
		about["expires"] = time.Now().Add(ahead).UTC().Format(time.RFC3339)
		return apitypes.AuditRecord{Time: *before(back), Member: member, Class: "issue", User: user, Outcome: "done", About: about}
	}
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return apitypes.Audit{Silent: []string{node3}, Since: &since, Items: []apitypes.AuditRecord{
		record(node1, "zone west", "1h", "500h", map[string]string{"kind": "control-plane", "zone": "west", "jti": "cp-1", "serial": "1"}),
		record(node2, "jane", "30h", "2000h", map[string]string{"kind": "zone", "zone": "west", "scope": "egress,ingress", "jti": "id-1", "serial": "1"}),
		record(node2, "jane", "40h", "100h", map[string]string{"kind": "zone", "zone": "east", "scope": "egress", "jti": "id-9", "serial": "1"}),
		record(node1, "joe", "50h", "600h", map[string]string{"kind": "control-plane", "zone": "west", "jti": "cp-1", "serial": "1"}),
		record(node1, "joe", "90h", "-1h", map[string]string{"kind": "user", "name": "ann", "jti": "u-1", "serial": "1"}),
		record(node1, "joe", "95h", "900h", map[string]string{"kind": "dataplane", "mesh": "default", "name": "dp-1", "jti": "d-1", "serial": "7"}),
		{Time: since, Member: node1, Class: "issue", Outcome: "done", About: map[string]string{"kind": "zone"}},
	}}
}

// requests remembers two.
func (f *fake) requests() {
	at := time.Date(2026, 11, 22, 6, 30, 0, 0, time.UTC)
	f.mux.HandleFunc("GET /v1/requests/{id}", func(w http.ResponseWriter, r *http.Request) {
		told := apitypes.RequestOutcome{RequestID: r.PathValue("id"), Outcome: apitypes.OutcomeUnknown, Revision: revision, Changes: []apitypes.RequestChange{}}
		switch r.PathValue("id") {
		case "7d444840-9dc0-41d1-b245-5ffdce74fad2":
			told.Outcome = apitypes.OutcomeApplied
			told.Changes = append(told.Changes, apitypes.RequestChange{Change: "revoke", Outcome: told.Outcome, Revision: revision, Changed: 3, RememberedUntil: &at})
		case "11111111-9dc0-41d1-b245-5ffdce74fad2":
			told.Outcome = apitypes.OutcomeRefused
			told.Changes = append(told.Changes, apitypes.RequestChange{Change: "remove-key", Outcome: told.Outcome, Revision: revision, RememberedUntil: &at, Detail: "the key is active"})
		}
		reply(w, told)
	})
}
