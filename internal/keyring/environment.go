package keyring

import (
	"strconv"

	"github.com/meridiankds/meridian/federation"
)

// EnvAuthType is the variable that says both types at once; "none" turns the
// authentication of proxies off. It counts more than any file.
const EnvAuthType = "KUMA_DP_SERVER_AUTH_TYPE"

// The other variables, each named as Kuma names it after the path of its setting.
const (
	envUseTokenPath    = "KUMA_DP_SERVER_AUTH_USE_TOKEN_PATH"
	envReloadable      = "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS"
	envZoneProxy       = "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE"
	envZoneIssuer      = "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_ENABLE_ISSUER"
	envZoneSecrets     = "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_VALIDATOR_USE_SECRETS"
	envDPProxy         = "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE"
	envDataplaneIssuer = "KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_ENABLE_ISSUER"
	envDataplaneSecret = "KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_VALIDATOR_USE_SECRETS"
)

// Override replaces what the environment says otherwise; lookup is os.LookupEnv.
// An empty variable says nothing. Call it before Complete.
func (s *Settings) Override(lookup func(string) (string, bool)) error {
	if err := s.spread(fileNames); err != nil {
		return err
	}
	word := func(name string) Method {
		value, _ := lookup(name)
		return Method(value)
	}
	var env Settings
	env.Auth.Type, env.Authn.ZoneProxy.Type, env.Authn.DPProxy.Type = word(EnvAuthType), word(envZoneProxy), word(envDPProxy)
	if err := env.spread(names{EnvAuthType, envZoneProxy, envDPProxy}); err != nil {
		return err
	}
	for _, m := range []struct {
		name      string
		from      Method
		into      *Method
		dataplane bool
	}{
		{envZoneProxy, env.Authn.ZoneProxy.Type, &s.Authn.ZoneProxy.Type, false},
		{envDPProxy, env.Authn.DPProxy.Type, &s.Authn.DPProxy.Type, true},
	} {
		if m.from == "" {
			continue
		}
		if err := validateMethod(m.name, m.from, m.dataplane); err != nil {
			return err
		}
		*m.into = m.from
	}
	for _, b := range []struct {
		name string
		set  func(bool)
	}{
		{envUseTokenPath, func(v bool) { s.Auth.UseTokenPath = v }},
		{envReloadable, func(v bool) { s.Authn.EnableReloadableTokens = v }},
		{envZoneIssuer, func(v bool) { s.Authn.ZoneProxy.ZoneToken.EnableIssuer = &v }},
		{envZoneSecrets, func(v bool) { s.Authn.ZoneProxy.ZoneToken.Validator.UseSecrets = &v }},
		{envDataplaneIssuer, func(v bool) { s.Authn.DPProxy.DPToken.EnableIssuer = &v }},
		{envDataplaneSecret, func(v bool) { s.Authn.DPProxy.DPToken.Validator.UseSecrets = &v }},
	} {
		text, _ := lookup(b.name)
		if text == "" {
			continue
		}
		value, err := strconv.ParseBool(text)
		if err != nil {
			return federation.InvalidField(b.name, "%.40q is neither true nor false", text)
		}
		b.set(value)
	}
	return nil
}
