package hints

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Mention is a command line that stands in a string of the source.
type Mention struct {
	Where string   // file:line
	Words []string // from the program's name to the last command, flag or argument
}

// String returns the command line and where it stands.
func (m Mention) String() string { return fmt.Sprintf("%s: %s", m.Where, strings.Join(m.Words, " ")) }

// Find returns the mentions of a program in the Go files under root, test files
// left out. A mention is what begins with the program's name in backquotes,
// behind a colon, at the indented beginning of a line, or anywhere in a hint
// where no article makes a noun of the name.
func Find(root, program string) ([]Mention, error) {
	f := &finder{
		marked: regexp.MustCompile("(?m)(?:`|: |^[ \t]+)(" + program + " [^`\n;,)]*)"),
		inHint: regexp.MustCompile(`(?:^|(\S+) )(` + program + " [^`\n;,)]*)"),
		files:  token.NewFileSet(),
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		return f.file(path)
	})
	return f.found, err
}

type finder struct {
	marked, inHint *regexp.Regexp
	files          *token.FileSet
	found          []Mention
}

func (f *finder) file(path string) error {
	file, err := parser.ParseFile(f.files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	hints := map[ast.Node]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "WithHint" && len(n.Args) > 0 {
				hints[n.Args[0]] = true
			}
		case *ast.BasicLit:
			if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
				f.text(f.files.Position(n.Pos()).String(), text, hints[n])
			}
		}
		return true
	})
	return nil
}

func (f *finder) text(where, text string, hint bool) {
	for _, m := range f.marked.FindAllStringSubmatch(text, -1) {
		f.add(where, m[1])
	}
	if !hint {
		return
	}
	for _, m := range f.inHint.FindAllStringSubmatch(text, -1) {
		switch m[1] {
		case "a", "an", "the", "this", "that", "another", "each", "every", "its", "of", "or", "no", "per":
		default:
			f.add(where, m[2])
		}
	}
}

// nouns follow the program's name where it is none: "stop the global that runs".
var nouns = []string{"that", "which", "control", "cannot", "has", "is"}

// add keeps the words up to a pipe, a redirection or a line that goes on.
func (f *finder) add(where, line string) {
	var words []string
	for w := range strings.FieldsSeq(line) {
		if strings.ContainsAny(w, `|>&\…`) || w == "and" {
			break
		}
		words = append(words, w)
	}
	m := Mention{where, words}
	same := func(other Mention) bool { return other.Where == where && slices.Equal(other.Words, words) }
	if len(words) > 1 && !slices.Contains(nouns, words[1]) && !slices.ContainsFunc(f.found, same) {
		f.found = append(f.found, m)
	}
}
