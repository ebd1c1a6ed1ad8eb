package access

import (
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

func rolesOf(t *testing.T, bindings ...Binding) *Roles {
	t.Helper()
	r, err := NewRoles(bindings)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var permissions = []Permission{Self, AnyRole, Read, ReadRevocations, Issue, Revoke, Administer}

// TestPermissions holds the whole table of roles and permissions.
func TestPermissions(t *testing.T) {
	roles := rolesOf(t,
		Binding{Role: Admin, Users: []string{"ann"}},
		Binding{Role: Issuer, Users: []string{"ivy"}, Kinds: []string{"zone-token"}, Zones: []string{"west"}},
		Binding{Role: Revoker, Groups: []string{"soc"}},
		Binding{Role: Auditor, Users: []string{"aud", "both"}},
		Binding{Role: Revoker, Users: []string{"both"}})
	for who, want := range map[*Caller]string{
		{Name: "ann"}:                             "1111111",
		{Name: "x", Groups: []string{"admin"}}:    "1111111",
		{Name: "ivy"}:                             "1100100",
		{Name: "x", Groups: []string{"a", "soc"}}: "1101010",
		{Name: "aud"}:                             "1111000",
		{Name: "both"}:                            "1111010",
		{Name: "x", Groups: []string{"Admin", "administrators", "admin ", ""}}: "1000000",
		{Name: "soc"}:   "1000000", // a group's name is no user's
		{Name: ""}:      "1000000",
		{Name: "Ann"}:   "1000000",
		{Name: "admin"}: "1000000",
	} {
		rights, got := roles.Of(*who), ""
		for _, p := range permissions {
			err := rights.Allow(p)
			if err == nil {
				got += "1"
				continue
			}
			got += "0"
			if e := federation.AsError(err); e.Code != federation.Forbidden || e.Reason != "not_allowed" || e.Hint == "" {
				t.Errorf("%+v, %s: %+v", *who, p, e)
			}
		}
		if got != want {
			t.Errorf("%+v: %s, want %s of %v", *who, got, want, permissions)
		}
		for _, p := range []Permission{"", "something else"} {
			if rights.Allow(p) == nil {
				t.Errorf("%+v may do what has no permission: %q", *who, p)
			}
		}
	}
	if (Rights{}).Allow(AnyRole) == nil || (Rights{}).Admin() {
		t.Error("no rights are some")
	}
	if DefaultRoles().Of(Caller{Name: "x", Groups: []string{"ops"}}).Allow(Read) == nil {
		t.Error("without bindings anybody reads")
	}
}

func TestIssuer(t *testing.T) {
	roles := rolesOf(t,
		Binding{Role: Issuer, Users: []string{"ci"}, Kinds: []string{"zone", "control-plane-token"}, Zones: []string{"west", "east"}, MaxValidity: "720h"},
		Binding{Role: Issuer, Users: []string{"ci"}, Kinds: []string{"dataplane-token"}, Meshes: []string{"*"}},
		Binding{Role: Issuer, Users: []string{"ci"}, Kinds: []string{"zone-token"}, Zones: []string{"north"}, Scopes: []string{"dataplane"}},
		Binding{Role: Issuer, Users: []string{"ci"}, Kinds: []string{"zone-token", "control-plane-token"}, Zones: []string{"south"}, Scopes: []string{"cp"}, MaxValidity: "1h"},
		Binding{Role: Issuer, Groups: []string{"desk"}, Kinds: []string{"user-token"}, TokenUsers: []string{"*"}, TokenGroups: []string{"*", "audit"}},
		Binding{Role: Issuer, Users: []string{"lead"}, Kinds: []string{"user-token"}, TokenUsers: []string{"ann", "ci"}},
		Binding{Role: Admin, Users: []string{"ann"}, Groups: []string{"platform"}},
		Binding{Role: Auditor, Groups: []string{"audit"}})
	ci, desk, lead := Caller{Name: "ci"}, Caller{Name: "d", Groups: []string{"desk"}}, Caller{Name: "lead"}
	scope := func(s ...cptoken.Scope) []cptoken.Scope { return s }
	zone := func(name string, s ...cptoken.Scope) cptoken.Claims {
		return cptoken.Claims{Kind: cptoken.Zone, Zone: name, Scope: scope(s...)}
	}
	user := func(name string, groups ...string) cptoken.Claims {
		return cptoken.Claims{Kind: cptoken.User, Name: name, Groups: groups}
	}
	day, month := 24*time.Hour, 720*time.Hour
	for i, test := range []struct {
		who     Caller
		claims  cptoken.Claims
		longest time.Duration // 0: refused
	}{
		{ci, zone("west"), month},
		{ci, zone("east", "ingress"), month},
		{ci, zone("west", "ingress", "dataplane"), 0},
		{ci, zone("west", "cp"), 0},
		{ci, zone("other"), 0},
		{ci, zone(""), 0},
		{ci, zone("*"), 0},
		{ci, zone("north", "dataplane"), day},
		{ci, zone("north"), 0}, // what issuing makes of it has ingress and egress
		{ci, zone("south", "cp"), time.Hour},
		{ci, cptoken.Claims{Kind: cptoken.ControlPlane, Zone: "west"}, month},
		{ci, cptoken.Claims{Kind: cptoken.ControlPlane, Zone: "north"}, 0},
		{ci, cptoken.Claims{Kind: cptoken.Dataplane, Mesh: "any"}, day},
		{ci, user("bob"), 0},
		{ci, cptoken.Claims{Kind: "other"}, 0},
		{desk, user("bob", "staff"), day},
		{desk, user("bob", "audit"), day}, // written out
		{desk, user("bob", "admin"), 0},
		{desk, user("bob", "platform"), 0},
		{desk, user("bob", "staff", "desk"), 0},
		{desk, user("ann"), 0}, // has a role by name
		{desk, user("ci"), 0},
		{desk, user("admin socket"), 0}, // as whom this program itself acts
		{desk, user("localhost"), 0},
		{desk, user("meridian"), 0},
		{desk, zone("west"), 0},
		{lead, user("ann"), day}, // the binding says so
		{lead, user("ann", "staff"), 0},
		{lead, user("bob"), 0},
		{Caller{Name: "nobody"}, zone("west"), 0},
	} {
		longest, err := roles.Of(test.who).Issue(test.claims)
		if longest != test.longest || (err == nil) != (test.longest > 0) {
			t.Errorf("%d: %s, %+v: %s, %v, want %s", i, test.who.Name, test.claims, longest, err, test.longest)
		}
	}
	if longest, err := roles.Of(Caller{Name: "ann"}).Issue(user("root", "admin")); longest != 0 || err != nil {
		t.Errorf("an admin: %s, %v", longest, err)
	}
}

func TestRevoker(t *testing.T) {
	roles := rolesOf(t,
		Binding{Role: Revoker, Users: []string{"all"}},
		Binding{Role: Revoker, Users: []string{"dp"}, Kinds: []string{"dataplane-token", "zone-token"}, Meshes: []string{"shop"}},
		Binding{Role: Issuer, Users: []string{"ci"}, Kinds: []string{"zone-token"}, Zones: []string{"*"}})
	for _, test := range []struct {
		who, mesh string
		kind      cptoken.Kind
		ok        bool
	}{
		{"all", "", cptoken.User, true}, {"all", "any", cptoken.Dataplane, true},
		{"dp", "shop", cptoken.Dataplane, true}, {"dp", "other", cptoken.Dataplane, false},
		{"dp", "", cptoken.Zone, true}, {"dp", "", cptoken.User, false}, {"dp", "", cptoken.ControlPlane, false},
		{"ci", "", cptoken.Zone, false}, {"x", "", cptoken.Zone, false},
	} {
		if err := roles.Of(Caller{Name: test.who}).Revoke(test.kind, test.mesh); (err == nil) != test.ok {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

func TestBadBindings(t *testing.T) {
	users := []string{"u"}
	for want, b := range map[string]Binding{
		"role":                          {Users: users},
		"is not a role":                 {Role: "root", Users: users},
		"bound to nobody":               {Role: Admin},
		"is no name":                    {Role: Auditor, Users: []string{"*"}},
		"kinds: are missing":            {Role: Issuer, Users: users},
		"not a kind":                    {Role: Issuer, Users: users, Kinds: []string{"zones"}},
		"zones: are missing":            {Role: Issuer, Users: users, Kinds: []string{"zone-token"}},
		"meshes: are missing":           {Role: Issuer, Users: users, Kinds: []string{"dataplane-token"}},
		"tokenUsers: are missing":       {Role: Issuer, Users: users, Kinds: []string{"user-token"}},
		"maxValidity":                   {Role: Issuer, Users: users, Kinds: []string{"zone-token"}, Zones: []string{"*"}, MaxValidity: "30d"},
		"for a control plane":           {Role: Issuer, Users: users, Kinds: []string{"zone-token"}, Zones: []string{"*"}, Scopes: []string{"cp"}},
		"not a scope":                   {Role: Issuer, Users: users, Kinds: []string{"zone-token"}, Zones: []string{"*"}, Scopes: []string{"*"}},
		"zones: mean nothing":           {Role: Revoker, Users: users, Zones: []string{"west"}},
		"kinds: mean nothing":           {Role: Auditor, Users: users, Kinds: []string{"zone-token"}},
		"maxValidity: mean nothing":     {Role: Admin, Users: users, MaxValidity: "1h"},
		"meshes: mean nothing":          {Role: Revoker, Users: users, Kinds: []string{"user-token"}, Meshes: []string{"m"}},
		"bindings[1]: zones: \"we/st\"": {Role: Issuer, Users: users, Kinds: []string{"zone-token"}, Zones: []string{"we/st"}},
	} {
		_, err := NewRoles([]Binding{{Role: Auditor, Users: users}, b})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "bindings[1]: ") {
			t.Errorf("%s: %v", want, err)
		}
	}
}
