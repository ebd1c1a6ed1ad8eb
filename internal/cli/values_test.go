package cli

import (
	"fmt"
	"testing"
)

func TestTags(t *testing.T) {
	tags := Tags{}
	for _, s := range []string{"kuma.io/service=backend, backend-admin", "version=1", "kuma.io/service=web", "expr=a=b"} {
		if err := tags.Set(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	want := "map[expr:[a=b] kuma.io/service:[backend backend-admin web] version:[1]]"
	if got := fmt.Sprint(map[string][]string(tags)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, s := range []string{"", "a", "=b", "a=", "a=,", " =b"} {
		if err := tags.Set(s); err == nil {
			t.Errorf("%q is taken for a tag", s)
		}
	}
}
