package redact

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
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

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}
