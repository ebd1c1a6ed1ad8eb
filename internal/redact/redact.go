// Package redact takes secrets out of what is shown: of any text what is shaped like one, of
// Envoy's configuration also what stands where a secret does.
package redact

import (
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
}

// JSON replaces the secrets in a JSON value, in place where it can.
func JSON(value any) any {
	switch v := value.(type) {
	case string:
		return Text(v)
	case []any:
		for i := range v {
			v[i] = JSON(v[i])
		}
	case map[string]any:
		for name, item := range v {
			if secretFields[name] {
				v[name] = field(item)
			} else {
				v[name] = JSON(item)
			}
		}
		// A header in a list of name and value.
		if name, ok := v["key"].(string); ok && isCredential(name) {
			if _, ok := v["value"].(string); ok {
				v["value"] = token
			}
		}
	}
	return value
}

// isCredential reports whether a header holds what proves who is calling.
func isCredential(header string) bool {
	switch strings.ToLower(header) {
	case "authorization", "proxy-authorization", "cookie", "x-api-key":
		return true
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

// Text replaces tokens and private keys in a text, also where the text is
// their base64.
func Text(text string) string {
	text = PrivateKey.ReplaceAllString(text, secret)
	text = Token.ReplaceAllString(text, token)
	if len(text) < 24 {
		return text
	}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
		if inner, err := encoding.DecodeString(text); err == nil && (Token.Match(inner) || PrivateKey.Match(inner)) {
			return secret
		}
	}
	return text
}
