package cptoken

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// text reads a string. The input as a whole is known to be valid UTF-8.
func (r *reader) text() string {
	r.value()
	if !r.take('"') {
		r.fail("want a string")
		return ""
	}
	start := r.pos
	for ; r.pos < len(r.s); r.pos++ {
		switch c := r.s[r.pos]; {
		case c == '"':
			s := r.s[start:r.pos]
			r.pos++
			return s
		case c == '\\':
			return r.escaped(start)
		case c < 0x20:
			r.fail("a control character in a string")
			return ""
		}
	}
	r.fail("a string without end")
	return ""
}

// escaped reads on a string that begins at start and has its first escape at the
// current position.
func (r *reader) escaped(start int) string {
	var b strings.Builder
	for r.err == "" {
		chunk := strings.IndexAny(r.s[r.pos:], `"\`)
		if chunk < 0 {
			break
		}
		plain := r.s[r.pos : r.pos+chunk]
		if b.Len() == 0 {
			plain = r.s[start : r.pos+chunk]
		}
		for i := 0; i < len(plain); i++ {
			if plain[i] < 0x20 {
				r.fail("a control character in a string")
				return ""
			}
		}
		b.WriteString(plain)
		r.pos += chunk + 1
		if r.s[r.pos-1] == '"' {
			return b.String()
		}
		b.WriteRune(r.escape())
	}
	r.fail("a string without end")
	return ""
}

// escape reads what follows a backslash. Half of a surrogate pair is refused:
// programs differ in what they make of it.
func (r *reader) escape() rune {
	if r.pos >= len(r.s) {
		return 0
	}
	c := r.s[r.pos]
	r.pos++
	switch c {
	case '"', '\\', '/':
		return rune(c)
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'u':
		u := r.hex4()
		if !utf16.IsSurrogate(u) {
			return u
		}
		if strings.HasPrefix(r.s[r.pos:], `\u`) {
			r.pos += 2
			if pair := utf16.DecodeRune(u, r.hex4()); pair != utf8.RuneError {
				return pair
			}
		}
		r.fail("half of a surrogate pair")
		return 0
	}
	r.fail("an unknown escape")
	return 0
}

func (r *reader) hex4() rune {
	var u rune
	for i := 0; i < 4; i++ {
		if r.pos >= len(r.s) {
			r.fail("an escape without end")
			return 0
		}
		c := r.s[r.pos]
		r.pos++
		switch {
		case c >= '0' && c <= '9':
			u = u<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			u = u<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			u = u<<4 | rune(c-'A'+10)
		default:
			r.fail("an escape that is not hexadecimal")
			return 0
		}
	}
	return u
}
