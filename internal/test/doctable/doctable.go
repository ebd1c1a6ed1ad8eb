// Package doctable reads tables of the documentation for tests that walk them.
package doctable

import (
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Admission and Statement are the heads of the tables in docs/proxies.md that say which
// callers are believed.
const (
	Admission = "| the proxy says | the token says | answer | proved |"
	Statement = "| stated | the token says | answer |"
)

// Rows returns the cells of each row of the table with this head, of which it has ten at
// least.
func Rows(t testing.TB, page, head string) (rows [][]string) {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(data), "\n"+head+"\n")
	if !found {
		t.Fatalf("%s has no table with the head %s", page, head)
	}
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		if strings.HasPrefix(line, "|---") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	if len(rows) < 10 {
		t.Fatalf("the table %s has %d rows only", head, len(rows))
	}
	return rows
}

var quoted = regexp.MustCompile("`([^`]*)`")

// Pairs reads a cell of `key: value`.
func Pairs(cell string) map[string]string {
	pairs := map[string]string{}
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		key, value, _ := strings.Cut(m[1], ":")
		pairs[key] = strings.TrimSpace(value)
	}
	return pairs
}

// Claims reads a cell of claims; nil is "none".
func Claims(t testing.TB, cell string) map[string]any {
	t.Helper()
	if cell == "none" {
		return nil
	}
	claims := map[string]any{}
	if err := json.Unmarshal([]byte(strings.Trim(cell, "`")), &claims); err != nil {
		t.Fatalf("%s: %v", cell, err)
	}
	return claims
}

// Answer reads a cell such as "403 `wrong_name`".
func Answer(t testing.TB, cell string) (status int, reason string) {
	t.Helper()
	number, reason, _ := strings.Cut(cell, " ")
	status, err := strconv.Atoi(number)
	if err != nil {
		t.Fatalf("%s: %v", cell, err)
	}
	return status, strings.Trim(reason, "`")
}
