package support

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/meridiankds/meridian/internal/redact"
)

// removed is what stands in the place of what was taken out.
const removed = "(removed)"

// What is a secret wherever it stands: no log line and no answer has one, and a mistake in
// one of them is not to reach a maintainer.
var secrets = []*regexp.Regexp{
	redact.Token, redact.PrivateKey,
	regexp.MustCompile(`(?i)bearer +[A-Za-z0-9_.-]+`),
}

func scrub(data []byte) []byte {
	for _, secret := range secrets {
		data = secret.ReplaceAll(data, []byte(removed))
	}
	return data
}

// subjects are the fields of answers that tell who holds a token, or did something.
var subjects = map[string]bool{
	"by": true, "user": true, "users": true, "subject": true, "groups": true, "tokenId": true, "jti": true, "confirmedBy": true,
	"issuedBy": true, "reason": true, "proxies": true,
}

// withoutSubjects takes these out of an answer.
func withoutSubjects(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if subjects[name] {
				v[name] = removed
				continue
			}
			v[name] = withoutSubjects(value)
		}
	case []any:
		for i := range v {
			v[i] = withoutSubjects(v[i])
		}
	case string:
		return inText(v, nil)
	}
	return v
}

// plain are the attributes of log lines that tell of machines, zones and keys only. Others
// may hold the name of a user or of a proxy, and are taken out: a new one is hidden until it
// is listed here.
var plain = map[string]bool{
	"time": true, "level": true, "msg": true, "component": true, "zone": true, "node": true, "revision": true, "requestId": true,
	"mesh": true, "key": true, "server": true, "method": true, "kind": true, "cluster": true, "member": true, "members": true,
	"force": true, "via": true, "to": true, "from": true, "in": true, "proxyType": true, "logLevel": true, "before": true,
	"waiting": true, "version": true, "type": true, "suppressed": true, "state": true, "route": true, "request": true, "resources": true,
	"protocol": true, "instance": true, "first": true, "fingerprint": true, "expires": true, "calls": true, "zones": true, "keys": true,
	"revocations": true, "verdict": true, "tokenSerialNumber": true, "streamId": true, "status": true, "stage": true, "serial": true,
	"sealKeyId": true, "scopes": true, "scope": true, "retry_in": true, "reason": true, "n": true, "limit": true, "unauthenticated": true,
	"authenticated": true, "reserved": true, "cert": true, "ca": true, "cas": true, "file": true, "folder": true, "path": true,
	"address": true, "remote": true, "stack": true, "settings": true, "bindings": true, "digest": true, "auth": true, "streams": true,
}

// text are attributes in which a name may stand between other words.
var text = map[string]bool{"error": true, "detail": true, "cause": true, "hint": true, "why": true, "err": true, "panic": true}

// quoted is how messages show what a caller said: names among them.
var (
	quoted   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	identity = regexp.MustCompile(`meridian://[^/\s"]+/user/[^\s"]+`)
)

// inText takes names out of a text: what is quoted, users' certificates, and names.
func inText(s string, names map[string]bool) string {
	s = quoted.ReplaceAllString(identity.ReplaceAllString(s, removed), `"`+removed+`"`)
	for name := range names {
		s = regexp.MustCompile(`(^|[^\w.@-])`+regexp.QuoteMeta(name)+`($|[^\w@-])`).ReplaceAllString(s, "${1}"+removed+"${2}")
	}
	return s
}

// logWithoutSubjects takes names out of lines of JSON. A line that is none is left out.
func logWithoutSubjects(lines [][]byte) [][]byte {
	parsed, names := make([]map[string]any, 0, len(lines)), map[string]bool{}
	for _, line := range lines {
		var attrs map[string]any
		if json.Unmarshal(line, &attrs) != nil {
			continue
		}
		parsed = append(parsed, attrs)
		for key, value := range attrs {
			if name, ok := value.(string); ok && !plain[key] && !text[key] && len(name) > 2 && len(name) < 200 && !strings.Contains(name, " ") && len(names) < 1000 {
				names[name] = true
			}
		}
	}
	kept := make([][]byte, 0, len(parsed))
	for _, attrs := range parsed {
		for key, value := range attrs {
			switch s, isText := value.(string); {
			case !plain[key] && !text[key]:
				attrs[key] = removed
			case isText:
				attrs[key] = inText(s, namesIn(s, names))
			}
		}
		if line, err := json.Marshal(attrs); err == nil {
			kept = append(kept, append(line, '\n'))
		}
	}
	return kept
}

// namesIn picks the names that a text has.
func namesIn(s string, names map[string]bool) map[string]bool {
	found := map[string]bool{}
	for name := range names {
		if strings.Contains(s, name) {
			found[name] = true
		}
	}
	return found
}
