package arch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestEveryContainerIsBounded reads the compose files: what goes wrong in one container
// must not take memory or processes from the others.
func TestEveryContainerIsBounded(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "deploy", "compose", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no compose files: %v", err)
	}
	type service struct {
		Memory any `yaml:"mem_limit"`
		PIDs   any `yaml:"pids_limit"`
	}
	bounded, all := map[string]bool{}, map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var compose struct {
			Services map[string]service `yaml:"services"`
		}
		if err := yaml.Unmarshal(data, &compose); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for name, s := range compose.Services {
			all[name] = file
			bounded[name] = bounded[name] || s.Memory != nil && s.PIDs != nil // a file may only add to a service of another
		}
	}
	if len(all) < 8 {
		t.Errorf("only %d services were found", len(all))
	}
	for name, file := range all {
		if !bounded[name] {
			t.Errorf("%s: the service %s has no mem_limit or no pids_limit", file, name)
		}
	}
}

// TestARenewalReachesWhoeverHasSecrets: every member and zone of the compose file, also
// one that is started only when it is wanted, is named to the renewal with its volume;
// the first start makes the identities of those that it starts, and of no other.
func TestARenewalReachesWhoeverHasSecrets(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "compose", "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	type service struct {
		Profiles   []string `yaml:"profiles"`
		Entrypoint []string `yaml:"entrypoint"`
		Command    []string `yaml:"command"`
		Volumes    []string `yaml:"volumes"`
	}
	var compose struct {
		Services map[string]service `yaml:"services"`
	}
	if err := yaml.Unmarshal(data, &compose); err != nil {
		t.Fatal(err)
	}
	holders := 0
	for name, s := range compose.Services {
		if !slices.Contains(s.Volumes, name+"-secrets:/secrets:ro") {
			continue
		}
		holders++
		flag := "--trust=/out/" + name
		if slices.ContainsFunc(s.Command, func(arg string) bool { return strings.HasPrefix(arg, "--tls-key-file") }) {
			flag = "--node=" + name + "=/out/" + name
		}
		for maker, want := range map[string]bool{"init": len(s.Profiles) == 0, "renew": true} {
			m := compose.Services[maker]
			named := slices.Contains(append(m.Entrypoint, m.Command...), flag)
			mounted := slices.Contains(m.Volumes, name+"-secrets:/out/"+name)
			if named != want || mounted != want {
				t.Errorf("%s: named by %s with %s: %t, its volume mounted there: %t, want %t", name, maker, flag, named, mounted, want)
			}
		}
	}
	if holders < 6 {
		t.Errorf("only %d services with secrets were found", holders)
	}
}
