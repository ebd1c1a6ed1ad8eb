package cluster

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// A page of the documentation that can be typed from top to bottom is played as it stands:
// every sh block, line by line, in one shell with our programs in its PATH. What differs is
// in page.sh: ports, and that servers run in the background. A line that the page shows to
// fail says so in a comment: "# error: TEXT…" or "# exits with N".

// A page is one document, and what is played before it in the same folder and shell.
type page struct {
	first string // another page that this one continues, "" for none
	given string // what the page takes for granted: commands of this test's own
	check string // what must hold at the end
}

// pages are played whole, but for the blocks that notPlayed names.
var pages = map[string]page{
	"README.md": {
		given: "mkdir scripts && printf '#!/bin/sh\\n' >scripts/build && chmod +x scripts/build\n",
	},
	"docs/access.md":         {first: "README.md"},
	"docs/audit.md":          {first: "README.md"},
	"docs/authentication.md": {first: "README.md"},
	"docs/certificates.md":   {first: "README.md"},
	"docs/proxies.md":        {first: "README.md"},
	"docs/lifecycle.md": {
		check: "global get zones | grep -q west\n",
	},
}

//go:embed testdata/page.sh
var pagePrelude string

// TestPagesAsWritten types each page of pages from top to bottom.
func TestPagesAsWritten(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("skipped: no bash on this machine, which plays the documented commands")
	}
	for name, p := range pages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := p.given
			if p.first != "" {
				script = pages[p.first].given + script
				script += played(t, p.first)
			}
			play(t, script+played(t, name)+p.check)
		})
	}
}

// play runs a script in a folder of its own, and fails with what it printed.
func play(t *testing.T, script string) {
	t.Helper()
	dir, ports := TempDir(t), ""
	for _, name := range []string{"api", "tls", "kds", "peer", "diagnostics", "dp"} {
		ports += fmt.Sprintf("port_%s=%s\n", name, freePort(t))
	}
	programs := filepath.Dir(binaries(t, "").global) // before the clock runs: they may have to be compiled
	ctx, cancel := context.WithTimeout(t.Context(), 3*Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-uo", "pipefail", "-c", ports+pagePrelude+script+"\nleave 0\n")
	cmd.Dir, cmd.Env = dir, append(cleanEnv(), "PATH="+programs+":"+os.Getenv("PATH"), "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out := filepath.Join(dir, "played.log")
	log, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	err = cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what a failure left running
	}
	said, _ := os.ReadFile(out)
	t.Logf("%s", said)
	if err != nil {
		t.Fatal(err)
	}
}

// played is the script that a page is, without the blocks that notPlayed names.
func played(t *testing.T, name string) string {
	t.Helper()
	var script strings.Builder
	for _, f := range fencesOf(t, name) {
		if _, left := leftOut(name, f); left || f.language != "sh" {
			continue
		}
		for _, line := range f.commands() {
			script.WriteString(typed(line))
		}
	}
	return script.String()
}

var (
	comment    = regexp.MustCompile(`\s+#( .*)?$`)
	toldError  = regexp.MustCompile(`\s+# error: (.*)$`)
	toldCode   = regexp.MustCompile(`\s+# exits with (\d+)`)
	server     = regexp.MustCompile(`^(?:\w+=\S+ )*(?:global (?:dev|server)|zone (?:dev|server))\b`)
	devZone    = regexp.MustCompile(`\bzone dev (\S+)`)
	dataDir    = regexp.MustCompile(`--data-dir[ =](\S+)`)
	background = regexp.MustCompile(`\s*&$`)
)

// typed is a command as the shell of page.sh is to run it.
func typed(line string) string {
	quoted := "'" + strings.ReplaceAll(line, "'", `'\''`) + "'"
	if m := toldError.FindStringSubmatch(line); m != nil {
		text, _, _ := strings.Cut(m[1], "…")
		return fmt.Sprintf("expect_error %s '%s'\n", quoted, strings.ReplaceAll(text, "'", `'\''`))
	}
	if m := toldCode.FindStringSubmatch(line); m != nil {
		return fmt.Sprintf("expect_code %s %s\n", m[1], quoted)
	}
	if !server.MatchString(line) {
		return fmt.Sprintf("step %s\n", quoted)
	}
	bare := comment.ReplaceAllString(line, "")
	dir := "meridian-data"
	if m := devZone.FindStringSubmatch(bare); m != nil {
		dir = m[1] + "-data"
	}
	if m := dataDir.FindStringSubmatch(bare); m != nil {
		dir = m[1]
	}
	if !background.MatchString(bare) {
		bare += " &" // in a terminal of its own
	}
	return fmt.Sprintf("note %s\n%s\nup %s\n", quoted, bare, dir)
}
