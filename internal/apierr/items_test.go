package apierr

import (
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

// TestElementsAreCounted before anything is made of them: by the field's own bound, or
// by that of all fields.
func TestElementsAreCounted(t *testing.T) {
	type one struct {
		Tags map[string][]string `json:"tags" maxItems:"2"`
	}
	type all struct {
		Requests []one    `json:"requests" maxItems:"3"`
		IDs      []string `json:"ids"`
	}
	for body, field := range map[string]string{
		`{"requests":[{},{},{}]}`:                                          "",
		`{"requests":[{},{},{},{}]}`:                                       "requests",
		`{"requests":[{"tags":{"a":[],"b":[]}}]}`:                          "",
		`{"requests":[{"tags":{"a":[],"b":[],"c":[]}}]}`:                   "requests[0].tags",
		`{"ids":["a"` + strings.Repeat(`,"a"`, MaxItems-1) + `]}`:          "",
		`{"ids":["a"` + strings.Repeat(`,"a"`, MaxItems) + `]}`:            "ids",
		`{"ids":[` + strings.Repeat(`"a",`, MaxItems+10) + ` not JSON ...`: "ids", // what follows is not looked at
	} {
		err := UnmarshalStrict([]byte(body), new(all))
		if field == "" && err != nil {
			t.Errorf("%.40s: %v", body, err)
		}
		if e := federation.AsError(err); field != "" && (e == nil || len(e.Fields) != 1 || e.Fields[0].Field != field) {
			t.Errorf("%.40s: %v, want an error of %s", body, err, field)
		}
	}
}
