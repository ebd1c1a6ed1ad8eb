package resources

import "strings"

// maxDiff bounds the lines of each side that are compared: the work grows with the product.
const maxDiff = 2000

// splitLines cuts a text into its lines.
func splitLines(text string) []string {
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// diff shows what makes the lines of a to those of b: lines that go behind "-", lines that
// come behind "+", and those that stay behind a blank.
func diff(a, b []string) string {
	var out strings.Builder
	write := func(mark string, lines []string) {
		for _, l := range lines {
			out.WriteString(mark + l + "\n")
		}
	}
	if len(a) > maxDiff || len(b) > maxDiff {
		write("-", a)
		write("+", b)
		return out.String()
	}
	// same[i][j] is how many lines a[i:] and b[j:] have in common, in order.
	same := make([][]int, len(a)+1)
	for i := range same {
		same[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				same[i][j] = same[i+1][j+1] + 1
			} else {
				same[i][j] = max(same[i+1][j], same[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			write(" ", a[i:i+1])
			i, j = i+1, j+1
		case same[i+1][j] >= same[i][j+1]:
			write("-", a[i:i+1])
			i++
		default:
			write("+", b[j:j+1])
			j++
		}
	}
	write("-", a[i:])
	write("+", b[j:])
	return out.String()
}
