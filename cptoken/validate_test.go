package cptoken

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

func TestValidate(t *testing.T) {
	long := strings.Repeat("x", MaxTextLen+1)
	many := func(n int) []string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprint("v", i)
		}
		return list
	}
	tags := func(n int) map[string][]string {
		m := map[string][]string{}
		for _, name := range many(n) {
			m[name] = []string{"x"}
		}
		return m
	}
	for what, test := range map[string]struct {
		c     Claims
		field string // "": valid
	}{
		"control plane":              {Claims{Kind: ControlPlane, Zone: "west"}, ""},
		"control plane, no zone":     {Claims{Kind: ControlPlane}, "zone"},
		"control plane, scope":       {Claims{Kind: ControlPlane, Zone: "west", Scope: []Scope{ScopeCP}}, "scope"},
		"zone":                       {Claims{Kind: Zone, Zone: "us-east.1", Scope: []Scope{ScopeEgress, ScopeIngress, ScopeDataplane}}, ""},
		"zone, cp":                   {Claims{Kind: Zone, Zone: "west", Scope: []Scope{ScopeCP}}, ""},
		"zone, no scope":             {Claims{Kind: Zone, Zone: "west"}, ""},
		"zone, no zone":              {Claims{Kind: Zone, Scope: []Scope{ScopeEgress}}, "zone"},
		"zone, not a name":           {Claims{Kind: Zone, Zone: "West"}, "zone"},
		"zone, a newline":            {Claims{Kind: Zone, Zone: "west\n"}, "zone"},
		"zone, unknown scope":        {Claims{Kind: Zone, Zone: "west", Scope: []Scope{ScopeEgress, "all"}}, "scope[1]"},
		"zone, empty scope":          {Claims{Kind: Zone, Zone: "west", Scope: []Scope{""}}, "scope[0]"},
		"zone, scope twice":          {Claims{Kind: Zone, Zone: "west", Scope: []Scope{ScopeEgress, ScopeEgress}}, "scope[1]"},
		"zone, cp and egress":        {Claims{Kind: Zone, Zone: "west", Scope: []Scope{ScopeEgress, ScopeCP}}, "scope"},
		"zone, a name":               {Claims{Kind: Zone, Zone: "west", Name: "x"}, "name"},
		"zone, a mesh":               {Claims{Kind: Zone, Zone: "west", Mesh: "x"}, "mesh"},
		"zone, tags":                 {Claims{Kind: Zone, Zone: "west", Tags: tags(1)}, "tags"},
		"zone, a serial":             {Claims{Kind: Zone, Zone: "west", TokenSerialNumber: 1}, "tokenSerialNumber"},
		"dataplane":                  {Claims{Kind: Dataplane, Mesh: "default"}, ""},
		"dataplane, all":             {Claims{Kind: Dataplane, Mesh: "default", Name: "dp_1.x", Type: "dataplane", Tags: map[string][]string{"kuma.io/service": {"a", "b"}}}, ""},
		"dataplane, no mesh":         {Claims{Kind: Dataplane, Name: "dp"}, "mesh"},
		"dataplane, a zone":          {Claims{Kind: Dataplane, Mesh: "default", Zone: "west"}, "zone"},
		"dataplane, groups":          {Claims{Kind: Dataplane, Mesh: "default", Groups: many(1)}, "groups"},
		"dataplane, an ingress":      {Claims{Kind: Dataplane, Mesh: "default", Type: "ingress"}, "type"},
		"dataplane, an egress":       {Claims{Kind: Dataplane, Mesh: "default", Type: "egress"}, "type"},
		"dataplane, name not ASCII":  {Claims{Kind: Dataplane, Mesh: "default", Name: "b\u00e4ckend"}, "name"},
		"dataplane, name of two":     {Claims{Kind: Dataplane, Mesh: "default", Name: "a,b"}, "name"},
		"dataplane, workload":        {Claims{Kind: Dataplane, Mesh: "default", Workload: "b\u00e4ckend"}, "workload"},
		"dataplane, workload of two": {Claims{Kind: Dataplane, Mesh: "default", Workload: "a,b"}, "workload"},
		"dataplane, value not ASCII": {Claims{Kind: Dataplane, Mesh: "default", Tags: map[string][]string{"a": {"\u00e4"}}}, "tags.a"},
		"dataplane, value of two":    {Claims{Kind: Dataplane, Mesh: "default", Tags: map[string][]string{"a": {"b,c"}}}, "tags.a"},
		"dataplane, odd type":        {Claims{Kind: Dataplane, Mesh: "default", Type: "gateway"}, "type"},
		"dataplane, long name":       {Claims{Kind: Dataplane, Mesh: "default", Name: long}, "name"},
		"dataplane, a blank":         {Claims{Kind: Dataplane, Mesh: "default", Name: " dp"}, "name"},
		"dataplane, tag of nothing":  {Claims{Kind: Dataplane, Mesh: "default", Tags: map[string][]string{"a": nil}}, "tags.a"},
		"dataplane, nameless tag":    {Claims{Kind: Dataplane, Mesh: "default", Tags: map[string][]string{"": {"x"}}}, "tags"},
		"dataplane, empty value":     {Claims{Kind: Dataplane, Mesh: "default", Tags: map[string][]string{"a": {""}}}, "tags.a"},
		"dataplane, not UTF-8":       {Claims{Kind: Dataplane, Mesh: "default", Tags: map[string][]string{"a": {"\xff"}}}, "tags.a"},
		"dataplane, a control":       {Claims{Kind: Dataplane, Mesh: "default", Tags: map[string][]string{"a": {"x\x00"}}}, "tags.a"},
		"dataplane, most tags":       {Claims{Kind: Dataplane, Mesh: "default", Tags: tags(MaxTags)}, ""},
		"dataplane, too many tags":   {Claims{Kind: Dataplane, Mesh: "default", Tags: tags(MaxTags + 1)}, "tags"},
		"dataplane, most values":     {Claims{Kind: Dataplane, Mesh: "default", Tags: map[string][]string{"a": many(MaxTagValues)}}, ""},
		"dataplane, too many values": {Claims{Kind: Dataplane, Mesh: "default", Tags: map[string][]string{"a": many(MaxTagValues + 1)}}, "tags.a"},
		"user":                       {Claims{Kind: User, Name: "Jörg Müller", Groups: []string{"team a"}}, ""},
		"user, no groups":            {Claims{Kind: User, Name: "john"}, ""},
		"user, no name":              {Claims{Kind: User, Groups: []string{"admin"}}, "name"},
		"user, a zone":               {Claims{Kind: User, Name: "john", Zone: "west"}, "zone"},
		"user, an empty group":       {Claims{Kind: User, Name: "john", Groups: []string{"a", ""}}, "groups[1]"},
		"user, a bidi override":      {Claims{Kind: User, Name: "john", Groups: []string{"\u202enimda"}}, "groups[0]"},
		"user, too many groups":      {Claims{Kind: User, Name: "john", Groups: many(MaxGroups + 1)}, "groups"},
		"no kind":                    {Claims{Zone: "west"}, "kind"},
		"unknown kind":               {Claims{Kind: "zones", Zone: "west"}, "kind"},
	} {
		err := test.c.Validate()
		if test.field == "" {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		e := federation.AsError(err)
		if e == nil || e.Code != federation.Invalid || len(e.Fields) != 1 || e.Fields[0].Field != test.field {
			t.Errorf("%s: %+v, want the field %s", what, e, test.field)
		}
	}
}

func TestValidateKID(t *testing.T) {
	for kid, ok := range map[string]bool{
		"key-1": true, "K.1_x": true, "1a": true, "-1": true, strings.Repeat("k", MaxKIDLen): true,
		"": false, "1": false, "007": false, "a b": false, "a/b": false, `a"`: false, "ä": false, "a\n": false, strings.Repeat("k", MaxKIDLen+1): false,
	} {
		if err := ValidateKID("kid", kid); (err == nil) != ok {
			t.Errorf("%q: %v", kid, err)
		}
	}
	for kid, want := range map[string]uint64{"1": 1, "0": 0, "18446744073709551615": 1<<64 - 1} {
		if n, ok := ParseSerialKID(kid); !ok || n != want {
			t.Errorf("%q: %d, %v", kid, n, ok)
		}
	}
	for _, kid := range []string{"", "01", "+1", "-1", "1.0", " 1", "1_0", "0x1", "18446744073709551616", "key-1"} {
		if n, ok := ParseSerialKID(kid); ok {
			t.Errorf("%q is taken for %d", kid, n)
		}
	}
}
