package keyring

import (
	"strconv"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Settings are the section dpServer of a configuration file, with Kuma's keys.
// The zero value is good: zone tokens for zone proxies, dataplane tokens for data
// plane proxies, each verified with the keys that the global sends.
//
// Read them with strict JSON or YAML, then call Override and Complete once.
type Settings struct {
	Auth  AuthSettings  `json:"auth"`
	Authn AuthnSettings `json:"authn"`
}

// AuthSettings are dpServer.auth.
type AuthSettings struct {
	// Type is the older way to say both types of dpServer.authn at once.
	Type Method `json:"type,omitempty"`
	// UseTokenPath has the bootstrap name the file of a proxy's token instead of
	// holding the token, so that the proxy can follow the file.
	UseTokenPath bool `json:"useTokenPath,omitempty"`
}

// AuthnSettings are dpServer.authn.
type AuthnSettings struct {
	ZoneProxy ZoneProxySettings `json:"zoneProxy"`
	DPProxy   DPProxySettings   `json:"dpProxy"`
	// ServiceAccountToken is for proxies whose type that is.
	ServiceAccountToken AccountSettings `json:"serviceAccountToken"`
	// EnableReloadableTokens is Kuma's newer name for UseTokenPath.
	EnableReloadableTokens bool `json:"enableReloadableTokens,omitempty"`
}

// AccountSettings are dpServer.authn.serviceAccountToken: who vouches for the
// tokens of Kubernetes service accounts, and what these must be made out to.
type AccountSettings struct {
	// Audience is required where a type is serviceAccountToken: a token that is good
	// for the API server itself must not be sent anywhere else.
	Audience string `json:"audience,omitempty"`
	// Kubeconfig is a file that says where the API server is and as whom to ask;
	// absent: the service account of the pod that the zone runs in.
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// APIServer is the URL of the API server where it is not the one of those.
	APIServer string `json:"apiServer,omitempty"`
	// AllowUnbound takes tokens that are bound to no pod: their holder can be any pod
	// of the account, and goes on when pods go.
	AllowUnbound bool `json:"allowUnbound,omitempty"`
	// ServiceAccounts say what the proxies of an account may be.
	ServiceAccounts []AccountEntry `json:"serviceAccounts,omitempty"`
}

// ZoneProxySettings are dpServer.authn.zoneProxy: of zone ingresses and egresses.
type ZoneProxySettings struct {
	Type      Method        `json:"type,omitempty"` // absent: zoneToken
	ZoneToken TokenSettings `json:"zoneToken"`
}

// DPProxySettings are dpServer.authn.dpProxy: of data plane proxies. Where Type is
// zoneToken, the tokens are verified as ZoneProxy.ZoneToken says.
type DPProxySettings struct {
	Type    Method        `json:"type,omitempty"` // absent: dpToken
	DPToken TokenSettings `json:"dpToken"`
}

// TokenSettings are of one kind of token.
type TokenSettings struct {
	// EnableIssuer lets the global issue such tokens, and a zone relay requests
	// for them; absent: true.
	EnableIssuer *bool             `json:"enableIssuer,omitempty"`
	Validator    ValidatorSettings `json:"validator"`
}

// Issues reports whether such tokens are issued.
func (t TokenSettings) Issues() bool { return t.EnableIssuer == nil || *t.EnableIssuer }

// ValidatorSettings say which keys verify a kind of token.
type ValidatorSettings struct {
	// UseSecrets takes the keys that the global sends; absent: true.
	UseSecrets *bool `json:"useSecrets,omitempty"`
	// PublicKeys are those of this zone alone, beside the global's or in their place.
	PublicKeys []PublicKey `json:"publicKeys,omitempty"`
}

// Secrets reports whether the global's keys verify.
func (v ValidatorSettings) Secrets() bool { return v.UseSecrets == nil || *v.UseSecrets }

// Complete turns dpServer.auth.type into the two types that it stands for, fills
// in the defaults, and checks everything that can be checked without reading a
// file. Two settings that contradict each other are an error.
func (s *Settings) Complete() error {
	if err := s.spread(fileNames); err != nil {
		return err
	}
	if s.Authn.ZoneProxy.Type == "" {
		s.Authn.ZoneProxy.Type = ZoneToken
	}
	if s.Authn.DPProxy.Type == "" {
		s.Authn.DPProxy.Type = DataplaneToken
	}
	if err := validateMethod(fileNames.zoneProxy, s.Authn.ZoneProxy.Type, false); err != nil {
		return err
	}
	if err := validateMethod(fileNames.dpProxy, s.Authn.DPProxy.Type, true); err != nil {
		return err
	}
	if s.Accounts() && s.Authn.ServiceAccountToken.Audience == "" {
		return federation.InvalidField("dpServer.authn.serviceAccountToken.audience", "must not be empty where a type is serviceAccountToken").
			WithHint("name what the pods' projected tokens are made out to, for example meridian-zone")
	}
	if err := s.Authn.ServiceAccountToken.validate(); err != nil {
		return err
	}
	if err := s.Authn.ZoneProxy.ZoneToken.validate(zoneKeys); err != nil {
		return err
	}
	return s.Authn.DPProxy.DPToken.validate(dataplaneKeys)
}

// names are how one source spells the settings that say a type.
type names struct{ auth, zoneProxy, dpProxy string }

// The names of the two types in a configuration file.
const (
	ZoneProxyType = "dpServer.authn.zoneProxy.type"
	DPProxyType   = "dpServer.authn.dpProxy.type"
)

var fileNames = names{"dpServer.auth.type", ZoneProxyType, DPProxyType}

// spread replaces Auth.Type by what it stands for.
func (s *Settings) spread(n names) error {
	zoneProxy, dataplane, err := legacyMethods(n.auth, s.Auth.Type)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		field  string
		into   *Method
		legacy Method
	}{{n.zoneProxy, &s.Authn.ZoneProxy.Type, zoneProxy}, {n.dpProxy, &s.Authn.DPProxy.Type, dataplane}} {
		switch {
		case f.legacy == "":
		case *f.into == "":
			*f.into = f.legacy
		case *f.into != f.legacy:
			return federation.InvalidField(f.field, "is %.40s, while %s is %.40s", *f.into, n.auth, s.Auth.Type).
				WithHint("leave one of the two out")
		}
	}
	s.Auth.Type = ""
	return nil
}

// validate checks the public keys of a kind of token as far as they stand in the
// settings themselves.
func (t TokenSettings) validate(where string) error {
	v := t.Validator
	if len(v.PublicKeys) > MaxPublicKeys {
		return federation.InvalidField(where, "has %d keys, at most %d are read", len(v.PublicKeys), MaxPublicKeys)
	}
	if !v.Secrets() && len(v.PublicKeys) == 0 {
		return federation.InvalidField(where, "is empty while useSecrets is false: no token could be verified").
			WithHint("list a public key, or leave useSecrets out")
	}
	for i, k := range v.PublicKeys {
		if err := k.validate(where+"["+strconv.Itoa(i)+"]", where == dataplaneKeys); err != nil {
			return err
		}
	}
	return nil
}

// ReloadTokens reports whether the bootstrap names the file of a proxy's token
// instead of holding the token.
func (s *Settings) ReloadTokens() bool {
	return s.Auth.UseTokenPath || s.Authn.EnableReloadableTokens
}

// Accounts reports whether proxies of any type prove themselves by service account
// tokens.
func (s *Settings) Accounts() bool {
	return s.Authn.ZoneProxy.Type == ServiceAccountToken || s.Authn.DPProxy.Type == ServiceAccountToken
}

// Method returns how proxies of a type prove who they are.
func (s *Settings) Method(proxyType string) Method {
	if proxyType == cptoken.TypeDataplane {
		return s.Authn.DPProxy.Type
	}
	return s.Authn.ZoneProxy.Type
}
