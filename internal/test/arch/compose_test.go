package arch

import (
	"os"
	"path/filepath"
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
