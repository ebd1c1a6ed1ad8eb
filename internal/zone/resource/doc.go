// Package resource reads the resources with which proxies say who they are:
// Dataplane, ZoneIngress and ZoneEgress, in the words of Kuma's users, from YAML
// or JSON.
//
//	type: Dataplane
//	mesh: default
//	name: backend-1
//	networking:
//	  address: 10.0.0.1
//	  inbound:
//	  - {port: 8080, servicePort: 80, tags: {kuma.io/service: backend}}
//
// [ParseFile] is for a file of an operator, where a misspelt field is a mistake;
// [ParseRequest] for what a proxy sends, which may be of another version and
// bring fields that nobody here knows. Both refuse more than [MaxBytes], two
// documents and a name given twice, and validate; errors name field and line.
package resource
