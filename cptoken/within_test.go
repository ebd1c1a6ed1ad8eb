package cptoken

import (
	"reflect"
	"testing"
	"time"
)

// TestWithin: what two sets of bounds both allow, where either may have none.
func TestWithin(t *testing.T) {
	tight := &Constraints{Zones: []string{"west"}, Scopes: []Scope{"cp"}, MaxLifetime: time.Hour}
	wide := &Constraints{Zones: []string{"east", "west"}, Scopes: []Scope{"cp", "ingress"}, MaxLifetime: 2 * time.Hour, AllowNoExpiry: true, AllowNoID: true}
	other := &Constraints{Zones: []string{"east"}, Scopes: []Scope{"cp"}}
	for name, tt := range map[string]struct{ a, b, want *Constraints }{
		"none":           {nil, nil, nil},
		"only the first": {tight, nil, tight},
		"only the other": {nil, tight, tight},
		"the other":      {wide, tight, tight},
		"the first":      {tight, wide, tight},
	} {
		got := (&PublicKey{Registered: tt.a}).Within(&PublicKey{Registered: tt.b})
		if got == nil || !reflect.DeepEqual(got.Registered, tt.want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := (&PublicKey{Registered: tight}).Within(&PublicKey{Registered: other}); got != nil {
		t.Errorf("of bounds with nothing in common: %+v", got.Registered)
	}
}
