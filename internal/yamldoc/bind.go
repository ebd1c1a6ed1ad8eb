package yamldoc

import (
	"fmt"
	"math/big"
	"reflect"
	"strings"

	"github.com/meridiankds/meridian/internal/spelling"
)

// Bind stores the document in the struct that into points to. Members find
// their field by its json tag, with letters of the same case; null leaves a
// field as it is. A text takes numbers, true and false as they were written, a
// number also a text of digits, as proto3's JSON does; a *Node takes anything.
// In strict mode a member that the struct does not have is an Invalid error;
// else it is passed over. Errors name field and line.
//
// Fields may be structs and pointers to them, strings, bools, unsigned integers,
// *Node, and slices and maps from strings of all these.
func Bind(n *Node, into any, strict bool) error {
	b := binder{strict: strict}
	return b.value(n, reflect.ValueOf(into).Elem(), "")
}

type binder struct{ strict bool }

var nodeType = reflect.TypeFor[*Node]()

func (b binder) value(n *Node, v reflect.Value, path string) error {
	if v.Type() == nodeType {
		v.Set(reflect.ValueOf(n))
		return nil
	}
	if n.Kind == Null {
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return b.value(n, v.Elem(), path)
	case reflect.Struct:
		return b.structure(n, v, path)
	case reflect.Map:
		return b.mapping(n, v, path)
	case reflect.Slice:
		return b.list(n, v, path)
	}
	return scalar(n, v, path)
}

func (b binder) structure(n *Node, v reflect.Value, path string) error {
	if n.Kind != Map {
		return At(n.Line, path, "must be a map, is %s", n.Kind)
	}
	for _, m := range n.Members {
		field, ok := fieldOf(v, m.Name)
		switch {
		case ok:
			if err := b.value(m.Value, field, join(path, m.Name)); err != nil {
				return err
			}
		case b.strict:
			return unknown(m, path, names(v.Type()))
		}
	}
	return nil
}

func (b binder) mapping(n *Node, v reflect.Value, path string) error {
	if n.Kind != Map {
		return At(n.Line, path, "must be a map, is %s", n.Kind)
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Members)))
	for _, m := range n.Members {
		value := reflect.New(v.Type().Elem()).Elem()
		if err := b.value(m.Value, value, join(path, m.Name)); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(m.Name), value)
	}
	return nil
}

func (b binder) list(n *Node, v reflect.Value, path string) error {
	if n.Kind != List {
		return At(n.Line, path, "must be a list, is %s", n.Kind)
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Items), len(n.Items)))
	for i, item := range n.Items {
		if err := b.value(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	return nil
}

func scalar(n *Node, v reflect.Value, path string) error {
	switch v.Kind() {
	case reflect.String:
		if n.Kind == Text || n.Kind == Number || n.Kind == Bool {
			v.SetString(n.Text)
			return nil
		}
		return At(n.Line, path, "must be text, is %s", n.Kind)
	case reflect.Bool:
		if n.Kind == Bool {
			v.SetBool(n.Text == "true")
			return nil
		}
		e := At(n.Line, path, "must be true or false, is %s", n.Kind)
		if meant, ok := truth[strings.ToLower(n.Text)]; ok && n.Kind == Text {
			e = e.WithHint("write %s, without quotes", meant)
		}
		return e
	case reflect.Uint32, reflect.Uint64, reflect.Uint:
		whole, ok := integer(n)
		if !ok || !whole.IsUint64() || v.OverflowUint(whole.Uint64()) {
			return At(n.Line, path, "must be a whole number from 0 on, is %s %.40q", n.Kind, n.Text)
		}
		v.SetUint(whole.Uint64())
		return nil
	}
	panic("yamldoc: a field of a type that Bind does not know: " + v.Type().String())
}

// truth is what words mean that are written for true and false.
var truth = map[string]string{"true": "true", "yes": "true", "on": "true", "y": "true", "false": "false", "no": "false", "off": "false", "n": "false"}

// unknown is the error of a member that the struct does not have, which is likely one of
// those that it has, misspelt.
func unknown(m Member, path string, known []string) error {
	e := At(m.Line, join(path, m.Name), "is not known here, which has: %s", strings.Join(known, ", "))
	if near := spelling.Nearest(m.Name, known); near != "" {
		e = e.WithHint("did you mean %s?", near)
	}
	return e
}

// integer reads a whole number, also one that is written as 80.0, 8e1 or "80".
func integer(n *Node) (*big.Int, bool) {
	if n.Kind != Number && n.Kind != Text || n.Text == "" || len(n.Text) > maxDigits || strings.ContainsAny(n.Text, "/pPxX_") {
		return nil, false
	}
	if i, ok := new(big.Int).SetString(n.Text, 10); ok {
		return i, true
	}
	f, _, err := big.ParseFloat(n.Text, 10, 128, big.ToZero)
	if err != nil || f.IsInf() || !f.IsInt() || f.MantExp(nil) > 64 {
		return nil, false
	}
	i, _ := f.Int(nil)
	return i, true
}

func fieldOf(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if tagOf(v.Type().Field(i)) == name {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func tagOf(f reflect.StructField) string {
	tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return tag
}

func names(t reflect.Type) (list []string) {
	for i := range t.NumField() {
		if tag := tagOf(t.Field(i)); tag != "" {
			list = append(list, tag)
		}
	}
	return list
}
