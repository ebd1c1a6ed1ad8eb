package bootstrap

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

const (
	// dynamicConfig is the listener from which a kuma-dp takes what concerns itself, on a
	// socket in its work directory.
	dynamicConfig       = "_kuma:dynamicconfig"
	dynamicConfigSocket = "kuma-mesh-metric-config.sock"
	// featureDNS is said by a kuma-dp that answers DNS itself. It is not ready before it
	// has read its records, or has asked for them in vain for 15 s.
	featureDNS = "feature-embedded-dns"
	// noRecords has it ask the machine's resolver for every name: this zone gives no
	// service a virtual address.
	noRecords = `{"records":[],"ttl":30}`
)

// listeners are those that the proxy has from its start: for a kuma-dp that answers DNS the
// one that it reads its records from. What Kuma 2.14.3 sends was seen: GET /dns is answered
// with an entity tag, and with 304 where that is known already.
func (in *Input) listeners() []any {
	pipe, ok := in.pipe(dynamicConfigSocket)
	if !ok || !slices.Contains(in.Request.Features, featureDNS) {
		return nil
	}
	sum := sha256.Sum256([]byte(noRecords))
	tag := hex.EncodeToString(sum[:])
	known := object{"name": "If-None-Match", "stringMatch": object{"exact": tag}}
	return []any{object{
		"name":    dynamicConfig,
		"address": pipe,
		"filterChains": []any{object{"filters": []any{object{
			"name": "envoy.filters.network.http_connection_manager",
			"typedConfig": object{
				"@type":      "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
				"statPrefix": "kuma_dynamicconfig",
				"routeConfig": object{"virtualHosts": []any{object{
					"name": dynamicConfig, "domains": []any{"*"},
					"routes": []any{
						object{"match": object{"path": "/dns", "headers": []any{known}}, "directResponse": object{"status": 304}},
						object{
							"match":                object{"path": "/dns"},
							"directResponse":       object{"status": 200, "body": object{"inlineString": noRecords}},
							"responseHeadersToAdd": []any{object{"header": object{"key": "Etag", "value": tag}}},
						},
					},
				}}},
				"httpFilters": []any{object{
					"name":        "envoy.filters.http.router",
					"typedConfig": object{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
				}},
			},
		}}}},
	}}
}
