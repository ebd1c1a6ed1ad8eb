package cptoken

import (
	"cmp"
	"strings"
	"testing"

	"github.com/google/uuid"
)

func TestUUIDs(t *testing.T) {
	const good = "7d444840-9dc0-4cd1-b245-5ffdce74fad2"
	u, ok := ParseUUID(good)
	if !ok || u.String() != good || string(u.AppendTo([]byte("x"))) != "x"+good {
		t.Errorf("%s comes back as %s, %v", good, u, ok)
	}
	if n := testing.AllocsPerRun(10, func() { ParseUUID(good) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for at := range len(good) {
		for _, c := range "-gA/:`{ \x00" {
			bad := good[:at] + string(c) + good[at+1:]
			if _, ok := ParseUUID(bad); ok && bad != good {
				t.Errorf("%q is taken for a canonical UUID", bad)
			}
		}
	}
	for _, bad := range []string{"", good[:35], good + "0", strings.ToUpper(good), "{" + good[:34] + "}", strings.ReplaceAll(good, "-", "") + "0000"} {
		if _, ok := ParseUUID(bad); ok {
			t.Errorf("%q is taken for a canonical UUID", bad)
		}
	}
	for range 100 {
		a, b := uuid.New(), uuid.New()
		if UUID(a).String() != a.String() || UUID(a).Compare(UUID(b)) != cmp.Compare(a.String(), b.String()) {
			t.Errorf("%s and %s", a, b)
		}
	}
}
