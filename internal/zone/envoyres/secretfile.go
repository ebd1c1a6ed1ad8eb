package envoyres

import "encoding/json"

// The names of the secrets in files that a proxy's agent keeps for its Envoy.
const (
	TokenSecret = "token"
	CASecret    = "zone_ca"
)

type object = map[string]any

// TokenFile returns the content of a file with a token, as a secret of Envoy's.
func TokenFile(token string) ([]byte, error) {
	return secretFile(TokenSecret, "genericSecret", object{"secret": object{"inlineString": token}})
}

// CAFile returns the content of a file with certificates in PEM, as a secret of Envoy's.
func CAFile(pem string) ([]byte, error) {
	return secretFile(CASecret, "validationContext", object{"trustedCa": object{"inlineString": pem}})
}

// secretFile is a discovery response, as Envoy reads it from a file.
func secretFile(name, kind string, secret object) ([]byte, error) {
	return json.Marshal(object{"resources": []any{object{
		"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "name": name, kind: secret,
	}}})
}
