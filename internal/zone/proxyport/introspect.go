package proxyport

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
)

// Introspection is the answer to POST /v1/introspect (RFC 7662, section 2.2): what a
// token is. Active alone is set for a token that is refused. Times are Unix seconds.
type Introspection struct {
	Active    bool   `json:"active"`
	Scope     string `json:"scope,omitempty"` // separated by blanks
	TokenType string `json:"token_type,omitempty"`
	Expires   int64  `json:"exp,omitempty"`
	IssuedAt  int64  `json:"iat,omitempty"`
	NotBefore int64  `json:"nbf,omitempty"`
	// Subject is zone/ZONE, dataplane/MESH, dataplane/MESH/NAME or
	// serviceaccount/NAMESPACE/NAME.
	Subject string `json:"sub,omitempty"`
	ID      string `json:"jti,omitempty"`

	// Extensions: the claims of the token.
	Zone string              `json:"zone,omitempty"`
	Mesh string              `json:"mesh,omitempty"`
	Name string              `json:"name,omitempty"`
	Tags map[string][]string `json:"tags,omitempty"`
	// Workload is the label kuma.io/workload that the proxy must have.
	Workload string `json:"workload,omitempty"`
}

// introspect answers POST /v1/introspect. It states nothing about the holder. Who asks
// is not authenticated, unlike in section 2.1 of the RFC: the answer says no more than
// the token itself, and POST /v1/authenticate does the same.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) {
	token, err := formToken(w, r)
	if s.unread(err) != nil {
		s.refused(r, "refused an introspection", err)
		apierr.WriteError(w, err)
		return
	}
	admission, err := s.cfg.Auth.Prove(r.Context(), nil, r.URL.Path, token)
	if err == nil && admission.Claims == nil && admission.Account == nil {
		// A zone that has proxies prove nothing has looked at nothing.
		err = cptoken.Refuse(cptoken.NotProved, "this zone has callers prove nothing, and verifies no token")
	}
	switch federation.CodeOf(err) {
	case federation.Unavailable, federation.Internal:
		s.refused(r, "cannot decide over a token", err)
		apierr.WriteError(w, err)
		return
	}
	if err != nil {
		s.refused(r, "introspected a token that is refused", err)
		apierr.WriteJSON(w, http.StatusOK, Introspection{})
		return
	}
	if err := preauth.Proved(r.Context(), admission.Identity()); err != nil {
		apierr.WriteError(w, err)
		return
	}
	apierr.WriteJSON(w, http.StatusOK, introspectionOf(admission))
}

// formToken reads the form of a request. What clients send besides the token
// (token_type_hint, client_id) is passed over.
func formToken(w http.ResponseWriter, r *http.Request) (string, error) {
	body, err := apierr.ReadBytes(w, r, maxAuthenticate)
	if err != nil {
		return "", err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", federation.Errorf(federation.Invalid, "the body is not a form").WithHint("send application/x-www-form-urlencoded: token=…")
	}
	if len(form["token"]) != 1 || form.Get("token") == "" {
		return "", federation.InvalidField("token", "must be given once").WithHint("send application/x-www-form-urlencoded: token=…")
	}
	return form.Get("token"), nil
}

func introspectionOf(a *proxyauth.Admission) Introspection {
	out := Introspection{Active: true, TokenType: "Bearer", ID: a.TokenID}
	if !a.Expires.IsZero() {
		out.Expires = a.Expires.Unix()
	}
	if a.Account != nil {
		out.Subject = "serviceaccount/" + a.Account.Namespace + "/" + a.Account.Name
		return out
	}
	c := a.Claims
	if !c.IssuedAt.IsZero() {
		out.IssuedAt = c.IssuedAt.Unix()
	}
	if !c.NotBefore.IsZero() {
		out.NotBefore = c.NotBefore.Unix()
	}
	var scopes []string
	for _, scope := range c.Scope {
		if scope.Valid() { // a blank in an unknown word would make it several
			scopes = append(scopes, string(scope))
		}
	}
	out.Scope, out.Zone, out.Mesh, out.Name, out.Tags, out.Workload = strings.Join(scopes, " "), c.Zone, c.Mesh, c.Name, c.Tags, c.Workload
	out.Subject = "zone/" + c.Zone
	if c.Kind == cptoken.Dataplane {
		out.Subject = "dataplane/" + c.Mesh
		if c.Name != "" {
			out.Subject += "/" + c.Name
		}
	}
	return out
}
