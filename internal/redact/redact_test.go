package redact

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// Tokens of these tests, which look like real ones.
const (
	tokenA = "eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2lnbmF0dXJl"
	tokenB = "eyJhbGciOiJSUzI1NiJ9.eyJiIjoxfQ.c2lnbmF0dXJl"
)

const pemKey = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----"

func TestJSON(t *testing.T) {
	in := `{
		"initialMetadata": [{"key": "Authorization", "value": "short"}, {"key": "x", "value": "y"}],
		"header": {"key": "cookie", "value": "id=1"},
		"tls": {"privateKey": {"inlineString": "k"}, "certificateChain": {"inlineString": "-----BEGIN CERTIFICATE-----"}},
		"file": {"private_key": {"filename": "/key.pem"}},
		"genericSecret": {"secret": {"inlineBytes": "c2VjcmV0"}},
		"text": "before ` + tokenA + ` after",
		"bytes": "` + base64.StdEncoding.EncodeToString([]byte(tokenA)) + `",
		"pem": ` + string(must(json.Marshal(pemKey))) + `,
		"list": ["Bearer ` + tokenB + `", 1, true, null]
	}`
	want := `{
		"initialMetadata": [{"key": "Authorization", "value": "[token]"}, {"key": "x", "value": "y"}],
		"header": {"key": "cookie", "value": "[token]"},
		"tls": {"privateKey": {"inlineString": "[secret]"}, "certificateChain": {"inlineString": "-----BEGIN CERTIFICATE-----"}},
		"file": {"private_key": {"filename": "/key.pem"}},
		"genericSecret": {"secret": {"inlineBytes": "[secret]"}},
		"text": "before [token] after",
		"bytes": "[secret]",
		"pem": "[secret]",
		"list": ["Bearer [token]", 1, true, null]
	}`
	var got, expected any
	_ = json.Unmarshal([]byte(in), &got)
	_ = json.Unmarshal([]byte(want), &expected)
	if got = JSON(got); !reflect.DeepEqual(got, expected) {
		t.Errorf("got %s", must(json.Marshal(got)))
	}
}

// TestSecretsInUnexpectedPlaces: each of these hides the word hunter2, and nothing of it may be
// shown; the words beside it stay.
func TestSecretsInUnexpectedPlaces(t *testing.T) {
	ed := "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g" // RFC 8410, section 10.3
	rsa, err := x509.MarshalPKCS8PrivateKey(must(rsa.GenerateKey(rand.Reader, 2048)))
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	for name, in := range map[string]string{
		"raw header":            `{"header": {"key": "authorization", "rawValue": "hunter2"}, "beside": "kept"}`,
		"other headers":         `[{"key": "x-api-key", "value": "hunter2"}, {"key": "X-Auth-Token", "value": "hunter2"}, {"key": "set-cookie", "value": "hunter2"}, {"key": "PRIVATE-TOKEN", "value": "hunter2"}, "kept"]`,
		"a matched header":      `[{"name": "x-api-key", "stringMatch": {"exact": "hunter2"}}, {"name": "cookie", "exact_match": "hunter2"}, {"name": "x", "stringMatch": {"exact": "kept"}}]`,
		"an unknown message":    `{"@type": "t/xds.type.v3.TypedStruct", "value": {"downstream_auth_password": {"inline_string": "hunter2"}, "auth_passwords": [{"inlineString": "hunter2"}], "secret_access_key": "hunter2", "sessionToken": "hunter2", "region": "kept"}}`,
		"API keys":              `{"credentials": [{"key": "hunter2", "client": "kept"}]}`,
		"variables":             `{"keyValues": {"DB_PASSWORD": "hunter2", "HOST": "kept"}}`,
		"an address":            `{"uri": "redis://:hunter2@kept:6379", "other": "https://user:hunter2@host/"}`,
		"a key in JSON":         `{"inlineString": "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"kept\",\"k\":\"hunter2hunter2hunter2\"}]}"}`,
		"its base64":            `{"inlineBytes": "` + b64([]byte(`{"kty":"oct","k":"hunter2hunter2hunter2"}`)) + `", "a": "kept"}`,
		"Basic":                 `{"text": "Basic aHVudGVyMjpodW50ZXIy", "a": "kept"}`,
		"a program":             `{"inlineString": "local kept = 1\nlocal api_key = 'hunter2'\nh:headers():add(\"x-api-key\", \"hunter2\")\ncfg = { password: \"hunter2\" }"}`,
		"base64 in a program":   `{"inlineString": "local kept = 1 local k = '` + b64([]byte(pemKey)) + `'"}`,
		"base64 without an end": `{"inlineString": "kept ` + strings.TrimRight(b64([]byte("Bearer "+tokenA+"!")), "=") + `"}`,
		"DER":                   `["` + ed + `", "` + b64(rsa) + `", "kept"]`,
	} {
		var v any
		if err := json.Unmarshal([]byte(in), &v); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := string(must(json.Marshal(JSON(v))))
		for _, hidden := range []string{"hunter2", "aHVudGVyMj", "c2lnbmF0dXJl", "LS0tLS1CRUdJTi", "ZXlK", ed[20:40], b64(rsa)[20:40]} {
			if strings.Contains(got, hidden) {
				t.Errorf("%s: %s is shown: %s", name, hidden, got)
			}
		}
		if !strings.Contains(got, "kept") {
			t.Errorf("%s: what is no secret went too: %s", name, got)
		}
	}
}

// TestWhatIsNoSecretStays: names of secrets, settings whose names are like theirs, certificates.
func TestWhatIsNoSecretStays(t *testing.T) {
	for _, in := range []string{
		`{"name":"envoy.filters.http.credential_injector","typedConfig":{"a":"b"}}`,
		`{"sdsConfig":{"ads":{}},"tlsCertificateSdsSecretConfigs":[{"name":"a","sdsConfig":{"ads":{}}}]}`,
		`{"maxTokens":5,"tokensPerFill":1,"tokenBucket":{"fillInterval":"1s"}}`,
		`{"inlineBytes":"` + base64.StdEncoding.EncodeToString([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")) + `"}`,
		`{"uri":"https://host:8443/path@x","prefix":"/api/v1/some/rather/long/path/that/goes/on"}`,
		`{"key":"envoy.lb","value":"canary"}`,
	} {
		var v, want any
		_, _ = json.Unmarshal([]byte(in), &v), json.Unmarshal([]byte(in), &want)
		if got := JSON(v); !reflect.DeepEqual(got, want) {
			t.Errorf("%s became %s", in, must(json.Marshal(got)))
		}
	}
}

func must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}
