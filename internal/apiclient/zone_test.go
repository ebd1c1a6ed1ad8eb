package apiclient

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/zone/proxyport"
)

// TestZoneShapesAreTheZones holds the client's structs against those that a zone
// writes and reads: no member that the one has may be unknown to the other. They
// are two sets because a client must not link a zone's server.
func TestZoneShapesAreTheZones(t *testing.T) {
	for _, pair := range [][2]any{
		{proxyport.Status{}, ZoneStatus{}},
		{proxyport.Identity{}, Identity{}},
		{proxyport.AuthenticateRequest{}, AuthenticateRequest{}},
	} {
		for i := range pair {
			from, to := reflect.TypeOf(pair[i]), reflect.TypeOf(pair[1-i])
			data, err := json.Marshal(filled(from).Interface())
			if err != nil {
				t.Fatal(err)
			}
			into := reflect.New(to)
			dec := json.NewDecoder(bytes.NewReader(data))
			dec.DisallowUnknownFields()
			if err := dec.Decode(into.Interface()); err != nil {
				t.Errorf("%s as %s: %v", from, to, err)
				continue
			}
			back, err := json.Marshal(into.Interface())
			if err != nil {
				t.Fatal(err)
			}
			if !sameJSON(t, data, back) {
				t.Errorf("%s as %s:\n%s\n%s", from, to, data, back)
			}
		}
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

// filled returns a value of the type in which nothing is empty, so that no member
// is left out of its JSON.
func filled(typ reflect.Type) reflect.Value {
	v := reflect.New(typ).Elem()
	switch typ.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(typ.Elem()))
		v.Elem().Set(filled(typ.Elem()))
	case reflect.Slice:
		v = reflect.Append(v, filled(typ.Elem()))
	case reflect.Map:
		v.Set(reflect.MakeMap(typ))
		v.SetMapIndex(filled(typ.Key()), filled(typ.Elem()))
	case reflect.Struct:
		for i := range typ.NumField() {
			if typ.Field(i).IsExported() {
				v.Field(i).Set(filled(typ.Field(i).Type))
			}
		}
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint64:
		v.SetUint(1)
	case reflect.Float64:
		v.SetFloat(1)
	}
	return v
}

func TestAuthenticate(t *testing.T) {
	tests := []struct {
		name    string
		status  int
		body    any
		refused bool
		code    federation.Code
	}{
		{"accepted", 200, Identity{Kind: "zone", Zone: "west", Revision: "r@1"}, false, ""},
		{"refused", 403, apitypes.Error{Title: "Access Denied", Detail: "for west", Reason: "wrong_zone"}, true, federation.Forbidden},
		{"not believed", 401, apitypes.Error{Title: "Unauthenticated", Detail: "expired", Reason: "expired"}, true, federation.Unauthenticated},
		{"no keys", 503, apitypes.Error{Title: "Unavailable", Detail: "knows no keys", Reason: "no_keys"}, true, federation.Unavailable},
		{"asked wrongly", 400, apitypes.Error{Title: "Bad Request", Detail: "mesh: must not be empty"}, false, federation.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, tt.status, tt.body) }))
			t.Cleanup(server.Close)
			p, err := NewProxies(Target{Service: ProxyPort(), Address: server.URL}, "zone/test")
			if err != nil {
				t.Fatal(err)
			}
			p.c.http = server.Client()
			_, err = p.Authenticate(t.Context(), AuthenticateRequest{Token: "x", ProxyType: "egress"})
			if Refused(err) != tt.refused || federation.CodeOf(err) != tt.code {
				t.Errorf("refused %v, %v", Refused(err), err)
			}
			// The zone is asked about another's token: advice about one's own
			// would mislead.
			if e := federation.AsError(err); e != nil && e.Hint != "" {
				t.Errorf("hint %q", e.Hint)
			}
		})
	}
}
