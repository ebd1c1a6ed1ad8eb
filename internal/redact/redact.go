// Package redact takes secrets out of what is shown: of any text what is shaped like one, of
// Envoy's configuration also what stands where a secret does.
package redact

import (
	"encoding/asn1"
	"encoding/base64"
	"strings"
)

// What stands in place of a secret.
const (
	token  = "[token]"
	secret = "[secret]"
)

// secretFields are those of Envoy's API and Kuma's that hold secrets.
var secretFields = map[string]bool{
	"privateKey": true, "private_key": true, "password": true, "sessionTicketKeys": true, "session_ticket_keys": true,
	"genericSecret": true, "generic_secret": true, "hmacSecret": true, "hmac_secret": true, "tokenSecret": true, "token_secret": true,
	"dataplaneToken": true, "accessToken": true, "access_token": true, "inlineSecret": true,
	"users": true, "backendToken": true, "backend_token": true, "pkcs12": true,
	"privateKeyProvider": true, "private_key_provider": true, "contextExtensions": true, "context_extensions": true,
	"secretData": true, "secret_data": true, "authUsername": true, "auth_username": true, "downstreamAuthUsername": true, "downstream_auth_username": true,
	"webIdentityTokenDataSource": true, "web_identity_token_data_source": true, "credentialsDataSource": true, "credentials_data_source": true,
}

// JSON replaces the secrets in a JSON value, in place where it can: what stands in a field that
// holds secrets, or one whose name says so, also of messages that this program has no description of;
// the values of headers that prove a caller; and in every text what looks like a secret. Of the text
// of a program, such as a filter's in Lua, it finds what is named a secret there.
func JSON(value any) any {
	switch v := value.(type) {
	case string:
		return inProgram(Text(v))
	case []any:
		for i := range v {
			v[i] = JSON(v[i])
		}
	case map[string]any:
		for name, item := range v {
			if secretFields[name] || saysSecret(name) && !isNumber(item) {
				v[name] = field(item)
			} else {
				v[name] = JSON(item)
			}
		}
		pair(v)
	}
	return value
}

func isNumber(item any) bool {
	switch item.(type) {
	case float64, bool, nil:
		return true
	}
	return false
}

// pair takes the secret out of a name and a value that stand beside each other.
func pair(v map[string]any) {
	name, _ := v["key"].(string)
	if isCredential(name) {
		replace(v, token, "value", "rawValue", "raw_value")
	}
	if _, ok := v["client"]; ok { // an API key, and whose it is
		replace(v, secret, "key")
	}
	if name, _ := v["name"].(string); isCredential(name) { // a header or parameter, and what it must be
		for _, match := range []string{"stringMatch", "string_match", "exactMatch", "exact_match", "prefixMatch", "prefix_match",
			"suffixMatch", "suffix_match", "containsMatch", "contains_match", "safeRegexMatch", "safe_regex_match"} {
			if _, ok := v[match]; ok {
				v[match] = secret
			}
		}
		replace(v, secret, "value")
	}
}

// replace puts a text in the place of others.
func replace(v map[string]any, by string, names ...string) {
	for _, name := range names {
		if _, ok := v[name].(string); ok {
			v[name] = by
		}
	}
}

// plain is a name in small letters, without what stands between its words.
func plain(name string) string {
	return strings.NewReplacer("-", "", "_", "", ".", "").Replace(strings.ToLower(name))
}

// isCredential reports whether a header or parameter holds what proves who is calling, as far
// as its name tells.
func isCredential(header string) bool {
	name := plain(header)
	for _, word := range []string{"authorization", "cookie", "token", "secret", "password", "passwd", "apikey", "accesskey", "credential", "passphrase"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// saysSecret reports whether a field's name says that it holds a secret.
func saysSecret(field string) bool {
	name := strings.TrimSuffix(plain(field), "s")
	for _, word := range []string{"password", "passwd", "secret", "token", "apikey", "accesskey", "secretkey", "privatekey", "passphrase", "authorization"} {
		if strings.HasSuffix(name, word) {
			return true
		}
	}
	return false
}

// field redacts what a secret field holds, and leaves where it comes from.
func field(item any) any {
	m, ok := item.(map[string]any)
	if !ok {
		return secret
	}
	for name, inner := range m {
		switch name {
		case "filename", "environmentVariable", "environment_variable", "watchedDirectory", "watched_directory":
			m[name] = JSON(inner)
		default:
			m[name] = field(inner)
		}
	}
	return m
}

// Text replaces tokens, private keys and the passwords of addresses in a text, also where these
// are in base64.
func Text(text string) string {
	text = PrivateKey.ReplaceAllString(text, secret)
	text = Token.ReplaceAllString(text, token)
	text = userInfo.ReplaceAllString(text, "${1}"+secret+"@")
	return encoded.ReplaceAllStringFunc(text, func(run string) string {
		if hides(run) {
			return secret
		}
		return run
	})
}

// hides reports whether a text is the base64 of a token or a private key.
func hides(run string) bool {
	run = strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(run)
	inner, err := base64.RawStdEncoding.DecodeString(run)
	if err != nil {
		inner, err = base64.RawStdEncoding.DecodeString(run[:len(run)-len(run)%4]) // a part of one
	}
	return err == nil && (Token.Match(inner) || PrivateKey.Match(inner) || jwk.Match(inner) || isKey(inner))
}

// isKey reports whether data is a private key in DER: a sequence that begins with a small
// version (PKCS #1, PKCS #8, RFC 5915), as no certificate or public key does.
func isKey(data []byte) bool {
	var key struct {
		Version int
		Rest    asn1.RawValue
	}
	rest, err := asn1.Unmarshal(data, &key)
	return err == nil && len(rest) == 0 && (key.Version == 0 || key.Version == 1)
}

// inProgram replaces what a text names a secret in the text of a program, and the secret parts
// of keys in JSON (RFC 7517).
func inProgram(text string) string {
	text = jwk.ReplaceAllString(text, `${1}"`+secret+`"`)
	text = scheme.ReplaceAllString(text, "${1} "+token)
	return assigned.ReplaceAllString(text, "${1}"+secret+"${2}")
}
