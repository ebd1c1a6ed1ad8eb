package tokenreview

import (
	"testing"

	"github.com/meridiankds/meridian/federation"
)

func TestCheck(t *testing.T) {
	bound := Identity{Namespace: "shop", ServiceAccount: "backend", Pod: "backend-1"}
	loose := Identity{Namespace: "shop", ServiceAccount: "backend"}
	label := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	for name, tt := range map[string]struct {
		id     Identity
		proxy  Proxy
		reason string
	}{
		"by its name":              {bound, Proxy{Name: "backend-1.shop"}, ""},
		"by its label alone":       {bound, Proxy{"backend-1", label(LabelNamespace, "shop")}, WrongNamespace},
		"by both":                  {bound, Proxy{"backend-1.shop", label(LabelNamespace, "shop", LabelServiceAccount, "backend")}, ""},
		"bound to no pod":          {loose, Proxy{Name: "anything.shop"}, ""},
		"a pod with dots":          {Identity{Namespace: "shop", Pod: "a.b"}, Proxy{Name: "a.b.shop"}, ""},
		"no namespace":             {bound, Proxy{Name: "backend-1"}, WrongNamespace},
		"another namespace's name": {loose, Proxy{Name: "backend-1.bank"}, WrongNamespace},
		"another's label":          {loose, Proxy{"backend-1.shop", label(LabelNamespace, "bank")}, WrongNamespace},
		"right label, other name":  {loose, Proxy{"backend-1.bank", label(LabelNamespace, "shop")}, WrongNamespace},
		"an empty label":           {loose, Proxy{"backend-1", label(LabelNamespace, "")}, WrongNamespace},
		"another account":          {bound, Proxy{"backend-1.shop", label(LabelServiceAccount, "cashier")}, WrongServiceAccount},
		"an empty account":         {bound, Proxy{"backend-1.shop", label(LabelServiceAccount, "")}, WrongServiceAccount},
		"another pod":              {bound, Proxy{Name: "backend-2.shop"}, WrongName},
		"another pod by label":     {bound, Proxy{"backend-2.shop", label(LabelNamespace, "shop")}, WrongName},
		"no name at all":           {bound, Proxy{}, WrongNamespace},
		"a dot alone":              {bound, Proxy{Name: "."}, WrongNamespace},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.id.Check(tt.proxy)
			if tt.reason == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if e := federation.AsError(err); e == nil || e.Code != federation.Forbidden || e.Reason != tt.reason || e.Hint == "" {
				t.Errorf("got %+v", e)
			}
		})
	}
}
