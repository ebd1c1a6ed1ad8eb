package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// Rules of who else than this process's user may use a file that is read, as package disk
// checks them: docs/operations.md has them for operators.
const (
	secret   = "secret"   // disk.CheckSecret
	aToken   = "token"    // disk.CheckToken
	believed = "believed" // disk.CheckWritten
	ours     = "data"     // in a data directory, which disk.OpenDataDir checks with what is in it
	given    = "given"    // what the caller of a command shows, or has the API judge
	public   = "public"   // certificates, CAs and resources: no secrets of this program's
	sealed   = "sealed"   // carries a MAC of its own
)

// filesRead are the places that open files to read them, and the rule that each keeps.
var filesRead = map[string]string{
	"cptoken/issue ReadSealFile":               secret,
	"internal/global/node LoadControlPlaneKey": secret,
	"internal/net/tlsutil readPEMFile":         secret, // of keys; a certificate or CA is public
	"internal/zone/tokenreview readFile":       believed,
	"internal/config contents":                 believed,
	"internal/keyring readKeyFile":             believed,
	"internal/tokenfile Read":                  aToken,
	"cmd/global/tokens readPrivateKey":         aToken,
	"cmd/global/certs readCertificates":        public,
	"cmd/global/certs keyNamed":                public,
	"cmd/global/snapshot openBackup":           sealed,
	"cmd/global/revocations openIDs":           given,
	"cmd/global/resources readFile":            given,
	"internal/zone/node Node.proxyCA":          public,
	"internal/zone/agent readFile":             public,
	"internal/zone/xdsdir readBounded":         public,
	"internal/zone/xdsdir Dir.load":            ours,
	"internal/endpoints Read":                  public,
	"internal/disk readMark":                   ours,
	"internal/zone/keysets Log.load":           ours,
	"internal/global/node lockFolder":          ours,
	"internal/global/audit readFile":           ours,
	"internal/global/audit series.resume":      ours,
	"internal/global/audit series.next":        ours,
	"raftstore/disk OpenSnapshot":              ours,
	"raftstore/disk readBounded":               ours,
	"raftstore/disk checkLog":                  ours,
	"raftstore/disk LoadIdentity":              ours,
	"keysync Store.openFile":                   ours,
	"keysync newStage":                         ours,
	"keysync Store.probeSpace":                 ours,
	"internal/disk Open":                       ours, // who calls it is in this list
	"cmd/global/client lock":                   ours,
	"internal/zone/agent lockDir":              ours,
	// These open a directory, or what they just made, to have it written.
	"internal/net/tlsutil WriteFile": ours,
	"internal/global/audit syncDir":  ours,
	"raftstore/disk syncDir":         ours,
	// This reads nothing: whether it opens says whether there is a terminal.
	"internal/cli hasTerminal": public,
	"keysync syncFolder":       ours,
}

// opening are the functions that open a file by its name.
var opening = map[string]bool{
	"os.Open": true, "os.ReadFile": true, "os.OpenFile": true, "tls.LoadX509KeyPair": true, "ioutil.ReadFile": true,
	"disk.Open": true,
}

// onceOnly are the places outside of commands that open a file of an operator's and may wait
// for a named pipe: why nobody is held up by one.
var onceOnly = map[string]string{
	"cptoken/issue ReadSealFile":               "at the start",
	"internal/global/node LoadControlPlaneKey": "at the start",
	"internal/zone/agent readFile":             "at the start",
	"internal/tokenfile Read":                  "who follows a token looks at the name first, and a pipe may bring one",
	"internal/endpoints Read":                  "in commands, a file that a node wrote",
	"internal/cli hasTerminal":                 "a terminal",
}

// TestEveryFileThatIsReadHasARule finds every place in what is shipped that opens a file,
// and fails for one that no rule is written down for: a secret that others may read, or
// something that is believed and that they may write, would be noticed by nobody.
func TestEveryFileThatIsReadHasARule(t *testing.T) {
	fset, found := token.NewFileSet(), map[string]bool{}
	for name, p := range list(t) {
		if !ships(name) {
			continue
		}
		for _, parsed := range p.parse(t, fset, parser.SkipObjectResolution) {
			for _, decl := range parsed.Decls {
				place := name + " " + placeOf(decl)
				ast.Inspect(decl, func(n ast.Node) bool {
					s, ok := n.(*ast.SelectorExpr)
					if !ok {
						return true
					}
					pkg, ok := s.X.(*ast.Ident)
					if !ok || !opening[pkg.Name+"."+s.Sel.Name] {
						return true
					}
					found[place] = true
					if rule := filesRead[place]; pkg.Name != "disk" && !strings.HasPrefix(name, "cmd/") && onceOnly[place] == "" &&
						slices.Contains([]string{secret, aToken, believed, public}, rule) {
						t.Errorf("%s: %s waits for ever where a named pipe is put in the file's place: open it with disk.Open", fset.Position(n.Pos()), place)
					}
					if filesRead[place] == "" {
						t.Errorf("%s: %s opens a file: who else may use it? Check it as package disk does, and list the place in filesRead", fset.Position(n.Pos()), place)
					}
					return true
				})
			}
		}
	}
	for place := range filesRead {
		if !found[place] {
			t.Errorf("filesRead lists %s, which opens no file (any longer)", place)
		}
	}
}

// TestFilesAreJudgedAsTheyAreOpened: what a name leads to may be another file a moment
// later, so rights are those of what was opened. Nobody who judges a file looks at its
// name, or reads it by that.
func TestFilesAreJudgedAsTheyAreOpened(t *testing.T) {
	byName := map[string]bool{"Stat": true, "Lstat": true, "ReadFile": true}
	fset, judges := token.NewFileSet(), 0
	for name, p := range list(t) {
		for _, parsed := range p.parse(t, fset, parser.SkipObjectResolution) {
			for _, decl := range parsed.Decls {
				looks, judged := "", false
				ast.Inspect(decl, func(n ast.Node) bool {
					s, ok := n.(*ast.SelectorExpr)
					if !ok {
						return true
					}
					pkg, ok := s.X.(*ast.Ident)
					if ok && pkg.Name == "os" && byName[s.Sel.Name] {
						looks = "os." + s.Sel.Name
					}
					judged = judged || ok && pkg.Name == "disk" && strings.HasPrefix(s.Sel.Name, "Check")
					return true
				})
				if judged {
					judges++
				}
				if judged && looks != "" {
					t.Errorf("%s: %s %s judges a file, and calls %s: use the Stat of what was opened", fset.Position(decl.Pos()), name, placeOf(decl), looks)
				}
			}
		}
	}
	if judges < 10 {
		t.Errorf("only %d places that judge a file were found", judges)
	}
}

// TestEverySocketIsMadePrivate: its mode may be set afterwards too, and by then others may
// wait in its queue.
func TestEverySocketIsMadePrivate(t *testing.T) {
	fset, private := token.NewFileSet(), 0
	for name, p := range list(t) {
		if !ships(name) {
			continue
		}
		for _, parsed := range p.parse(t, fset, parser.SkipObjectResolution) {
			var in [][2]token.Pos // the arguments of disk.Private
			ast.Inspect(parsed, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				s, ok := call.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "disk" && s.Sel.Name == "Private" {
					in = append(in, [2]token.Pos{call.Lparen, call.Rparen})
				}
				if s.Sel.Name == "ListenUnix" || strings.HasPrefix(s.Sel.Name, "Listen") && slices.ContainsFunc(call.Args, isUnix) {
					if !slices.ContainsFunc(in, func(r [2]token.Pos) bool { return r[0] < call.Pos() && call.Pos() < r[1] }) {
						t.Errorf("%s: a socket is made outside of disk.Private", fset.Position(call.Pos()))
					}
					private++
				}
				return true
			})
		}
	}
	if private < 2 {
		t.Errorf("only %d sockets were found", private)
	}
}

func isUnix(arg ast.Expr) bool {
	lit, ok := arg.(*ast.BasicLit)
	return ok && lit.Value == `"unix"`
}
