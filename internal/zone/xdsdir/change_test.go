package xdsdir

import (
	"fmt"
	"strings"
	"testing"
)

// TestFilesEditedOneAfterAnother: they are one change, which is told in one line, and read
// when nothing has moved between two looks; an edit that never ends is read all the same.
func TestFilesEditedOneAfterAnother(t *testing.T) {
	f := newFolder(t, map[string]string{"all/a.yaml": clusters("a"), "egress/b.yaml": clusters("b", "c"), "ingress/d.yaml": clusters("d")})
	f.dir.cfg.Connected = func() []Proxy {
		return []Proxy{egress, ingress, {Type: "dataplane", Mesh: "default", Name: "backend-1"}, {Type: "egress", Name: "second"}}
	}
	lines := func() []string {
		var list []string
		for _, line := range strings.Split(f.log.String(), "\n") {
			if strings.Contains(line, "resources changed") {
				list = append(list, line)
			}
		}
		return list
	}
	edit := func(at, text, want string) {
		t.Helper()
		f.write(at, text)
		f.dir.poll()
		if got := f.clusters(egress); got != want {
			t.Fatalf("after %s: %q, want %q", at, got, want)
		}
	}
	edit("egress/b.yaml", clusters("b2"), "a b c")
	edit("egress/e.yaml", clusters("e"), "a b c")
	f.write("ingress/new.yml", clusters("n"))
	edit("ingress/d.yaml", clusters("d", "d2"), "a b c")
	f.dir.poll()
	if got := f.clusters(egress); got != "a b2 e" {
		t.Errorf("when all is quiet: %q", got)
	}
	if got := lines(); len(got) != 1 || !strings.Contains(got[0], `places="[egress ingress]" files="[egress/b.yaml egress/e.yaml ingress/d.yaml ingress/new.yml]" proxies=3 before=3 after=5 added=4 changed=0 removed=2`) {
		t.Errorf("it is told as\n%s", strings.Join(got, "\n"))
	}
	for i := range mostLooks - 1 {
		edit("egress/b.yaml", clusters(fmt.Sprintf("b%d", i+10)), "a b2 e")
	}
	edit("egress/b.yaml", clusters("b3"), "a b3 e")
	f.write("egress/b.yaml", "[")
	f.dir.poll()
	f.dir.poll()
	f.dir.poll()
	if got := lines(); len(got) != 2 {
		t.Errorf("a file that cannot be used is told as a change: %v", got)
	}
}

// TestTold: a line stays one.
func TestTold(t *testing.T) {
	var names []string
	for i := range 12 {
		names = append(names, fmt.Sprintf("f%02d", i))
	}
	if got := strings.Join(told(names), " "); got != "f00 f01 f02 f03 f04 f05 f06 f07 f08 f09 and 2 more" {
		t.Error(got)
	}
}
