package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/test/doctable"
)

// TestEveryActionOfTheAuditLogIsACommand: the words of docs/audit.md, which the API's routes
// are held against, can be typed. What apply and delete take behind them is the kind.
func TestEveryActionOfTheAuditLogIsACommand(t *testing.T) {
	app := newApp(console.IO{})
	for _, row := range doctable.Rows(t, filepath.Join("..", "..", "docs", "audit.md"), "| action | request |") {
		action := strings.Trim(row[0], "`")
		commands, words := app.Commands, strings.Fields(action)
		var found *cli.Command
		for len(words) > 0 && !strings.HasPrefix(words[0], "--") {
			i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(words[0]) })
			if i < 0 {
				break
			}
			found, commands, words = commands[i], commands[i].Subcommands, words[1:]
		}
		if found == nil || len(commands) > 0 {
			t.Errorf("%s is no command", action)
			continue
		}
		for _, word := range words {
			flag := strings.TrimPrefix(word, "--")
			isFlag := slices.ContainsFunc(found.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), flag) })
			if word != flag && !isFlag || word == flag && found.Name != "apply" && found.Name != "delete" {
				t.Errorf("%s: the command %s has no %s", action, found.Name, word)
			}
		}
	}
}
