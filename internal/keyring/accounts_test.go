package keyring

import (
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

// TestAccountEntriesThatAreMistakes names the entry at fault.
func TestAccountEntriesThatAreMistakes(t *testing.T) {
	for name, e := range map[string]AccountEntry{
		"no account":          {},
		"no namespace":        {Account: "/a"},
		"no name":             {Account: "a/"},
		"three parts":         {Account: "a/b/c"},
		"a type":              {Account: "a/b", ProxyTypes: []string{"gateway"}},
		"a mesh's name":       {Account: "a/b", Mesh: "Not A Mesh"},
		"services of ingress": {Account: "a/b", ProxyTypes: []string{"ingress"}, Services: []string{"x"}},
		"an empty service":    {Account: "a/b", Services: []string{""}},
	} {
		s := AccountSettings{ServiceAccounts: []AccountEntry{{Account: "good/one"}, e}}
		err := s.validate()
		if e := federation.AsError(err); e == nil || e.Code != federation.Invalid || !strings.HasPrefix(e.Fields[0].Field, AccountsField+"[1]") {
			t.Errorf("%s: %v", name, err)
		}
	}
	twice := AccountSettings{ServiceAccounts: []AccountEntry{{Account: "a/b"}, {Account: "a/b"}}}
	if twice.validate() == nil {
		t.Error("an account with two entries")
	}
}
