package proxyport

import (
	"encoding/hex"
	"net/http"
	"os"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apierr"
)

// Index is the answer to GET /.
type Index struct {
	Hostname   string `json:"hostname"`
	Tagline    string `json:"tagline"`
	Product    string `json:"product"`
	Version    string `json:"version"`
	InstanceID string `json:"instanceId"`
	ClusterID  string `json:"clusterId"`
	Zone       string `json:"zone"`
}

// Status is the answer to GET /v1/status.
type Status struct {
	Zone     string `json:"zone"`
	Instance string `json:"instance"`
	Version  string `json:"version"`
	// Cluster is "" and Revision "none" while the zone knows nothing, which Empty
	// says too: it then refuses every token.
	Cluster  string `json:"cluster"`
	Revision string `json:"revision"`
	Empty    bool   `json:"empty"`
	Global   Global `json:"global"`
	// Unwritten is why the zone cannot make durable what it is sent; absent where it can.
	Unwritten string `json:"unwritten,omitempty"`
	// NotHeld names what the global sends and this version does not understand.
	NotHeld []string `json:"notHeld,omitempty"`
	// Authentication is how proxies prove who they are.
	Authentication Authentication `json:"authentication"`
	Keys           []Key          `json:"keys"`
	// Revocations holds the number of revoked ids of each kind of token.
	Revocations map[string]int `json:"revocations"`
	CutOffs     int            `json:"cutOffs"`
	// Certificates are those in use: the one shown to proxies first, then what the
	// zone needs towards the global.
	Certificates []Certificate `json:"certificates"`
}

// Authentication is how proxies prove to a zone who they are.
type Authentication struct {
	// ZoneProxy and DPProxy are zoneToken, dpToken, serviceAccountToken or none.
	ZoneProxy string `json:"zoneProxy"`
	DPProxy   string `json:"dpProxy"`
	// IgnoredSecrets are the kinds of tokens for which the keys that the global sends
	// do not count here (useSecrets: false).
	IgnoredSecrets []string `json:"ignoredSecrets,omitempty"`
}

// Certificate tells when a certificate of the zone ends.
type Certificate struct {
	File     string    `json:"file"`
	Subject  string    `json:"subject"` // its identity, meridian://…, or its subject where it has none
	CA       bool      `json:"ca,omitempty"`
	NotAfter time.Time `json:"notAfter"`
	DaysLeft int       `json:"daysLeft"` // whole days, negative after the end
}

// Global is what the zone knows of the global's side.
type Global struct {
	Connected bool   `json:"connected"`
	Address   string `json:"address,omitempty"`
	Member    string `json:"member,omitempty"` // of this connection, or the one heard last
	// Kind is "meridian" or "kuma": which kind of global it is, or was when the zone was
	// connected last.
	Kind string `json:"kind,omitempty"`
	// Since is when the connection was made or lost.
	Since     *time.Time `json:"since,omitempty"`
	LastError string     `json:"lastError,omitempty"`
	// LastHeard is absent where the global was never heard, also not before a
	// restart of the zone. AgeSeconds is the time since then.
	LastHeard  *time.Time `json:"lastHeard,omitempty"`
	AgeSeconds *float64   `json:"ageSeconds,omitempty"`
	// MaxStale is how old that may be, "" for however old; Stale that it is older.
	MaxStale string `json:"maxStale,omitempty"`
	Stale    bool   `json:"stale"`
}

// Key is a public key that the zone verifies tokens with.
type Key struct {
	Kind        string `json:"kind"`
	Mesh        string `json:"mesh,omitempty"`
	KID         string `json:"kid"`
	State       string `json:"state"`
	Alg         string `json:"alg"`
	Fingerprint string `json:"fingerprint"` // SHA-256 of the SubjectPublicKeyInfo, hexadecimal
	Registered  bool   `json:"registered,omitempty"`
	Static      bool   `json:"static,omitempty"` // of this zone's own settings
	// NotInKeySet says why the zone's key sets leave the key out; "" where they have it.
	NotInKeySet string `json:"notInKeySet,omitempty"`
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	host, err := os.Hostname()
	if err != nil {
		host = "" // shown to humans only
	}
	apierr.WriteJSON(w, http.StatusOK, Index{
		Hostname: host, Tagline: "Meridian", Product: "Meridian", Version: s.cfg.Version,
		InstanceID: s.cfg.Instance, ClusterID: s.cfg.Store.View().Cluster(), Zone: s.cfg.Zone,
	})
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	view := s.cfg.Store.View()
	out := Status{
		Zone: s.cfg.Zone, Instance: s.cfg.Instance, Version: s.cfg.Version,
		Cluster: view.Cluster(), Revision: view.Revision().String(), Empty: view.Empty(),
		Global: s.global(), Authentication: s.authentication(), Keys: []Key{}, Revocations: map[string]int{}, CutOffs: view.CutOffs(),
		Certificates: s.cfg.Certificates(), NotHeld: view.Skipped(),
	}
	if err := s.cfg.Store.Unwritten(); err != nil {
		out.Unwritten = err.Error()
	}
	for _, k := range view.Keys() {
		out.Keys = append(out.Keys, keyOf(k))
	}
	for _, k := range s.cfg.Auth.Keyring().Own() {
		own := keyOf(k)
		own.Static, own.Registered = true, false
		out.Keys = append(out.Keys, own)
	}
	for _, kind := range cptoken.Kinds {
		if n := view.RevocationsOf(kind); n > 0 || kind.AtZones() {
			out.Revocations[string(kind)] = n
		}
	}
	apierr.WriteJSON(w, http.StatusOK, out)
}

func keyOf(k *cptoken.PublicKey) Key {
	fingerprint := k.Fingerprint()
	return Key{
		Kind: string(k.ID.Kind), Mesh: k.ID.Mesh, KID: k.ID.KID, State: string(k.State),
		Alg: k.Alg, Fingerprint: hex.EncodeToString(fingerprint[:]), Registered: k.Registered != nil,
		NotInKeySet: outsideKeySets(k),
	}
}

// outsideKeySets says why no key set of this zone has the key. User tokens are not for
// the services behind proxies, and there is no set for them.
func outsideKeySets(k *cptoken.PublicKey) string {
	if k.ID.Kind != cptoken.Zone && k.ID.Kind != cptoken.Dataplane {
		return ""
	}
	return k.OutsideKeySets()
}

func (s *Server) authentication() Authentication {
	authn := s.cfg.Auth.Settings().Authn
	out := Authentication{ZoneProxy: string(authn.ZoneProxy.Type), DPProxy: string(authn.DPProxy.Type)}
	for _, kind := range []cptoken.Kind{cptoken.Zone, cptoken.Dataplane} {
		if !s.cfg.Auth.Keyring().Secrets(kind) {
			out.IgnoredSecrets = append(out.IgnoredSecrets, string(kind))
		}
	}
	return out
}

func (s *Server) global() Global {
	link := s.cfg.Link()
	g := Global{Connected: link.Connected, Address: link.Address, Member: link.Member, Kind: link.Kind, LastError: link.LastError}
	if !link.Since.IsZero() {
		since := link.Since.UTC()
		g.Since = &since
	}
	member, at := s.cfg.Store.Contact()
	if g.Member == "" {
		g.Member = member
	}
	if age, ok := s.cfg.Auth.Age(); ok {
		heard, seconds := at.UTC(), age.Seconds()
		g.LastHeard, g.AgeSeconds = &heard, &seconds
	}
	if most := s.cfg.Auth.MaxStale(); most > 0 {
		g.MaxStale, g.Stale = most.String(), s.cfg.Auth.Stale() != nil
	}
	return g
}
