package kdstest

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
)

// Filled sets every field of *v, and of all that is below it, to something other than
// zero: every slice and map gets two entries, every pointer a target. A field of a kind
// that it cannot make fails the test, so that nobody adds one without thinking of what
// it is written to.
func Filled[T any](t testing.TB) T {
	t.Helper()
	var v T
	f := filler{t: t}
	f.fill(reflect.ValueOf(&v).Elem(), reflect.TypeFor[T]().String())
	return v
}

// EveryChange returns a change of each sort, one for each field of [cptoken.Change],
// with every field of it filled, at indexes from 1. Skipped, which never travels, has
// none.
func EveryChange(t testing.TB) []cptoken.Change {
	t.Helper()
	var out []cptoken.Change
	f := filler{t: t}
	for i := range reflect.TypeFor[cptoken.Change]().NumField() {
		field := reflect.TypeFor[cptoken.Change]().Field(i)
		if field.Name == "Index" || field.Name == "Skipped" {
			continue
		}
		c := cptoken.Change{Index: uint64(len(out) + 1)}
		f.fill(reflect.ValueOf(&c).Elem().Field(i), field.Name)
		out = append(out, c)
	}
	return out
}

// filler makes values that differ from each other, so that two fields that change
// places are found too.
type filler struct {
	t testing.TB
	n int
}

func (f *filler) fill(v reflect.Value, path string) {
	f.t.Helper()
	f.n++
	switch v.Interface().(type) {
	case cptoken.Kind: // the only kind that has a mesh beside it
		v.Set(reflect.ValueOf(cptoken.Dataplane))
		return
	case cptoken.KeyState:
		v.Set(reflect.ValueOf(cptoken.Retiring))
		return
	case cptoken.Scope:
		v.Set(reflect.ValueOf([...]cptoken.Scope{cptoken.ScopeEgress, cptoken.ScopeIngress}[f.n%2]))
		return
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(1_700_000_000+int64(f.n), 0)))
		return
	case time.Duration:
		v.Set(reflect.ValueOf(time.Duration(f.n) * time.Second))
		return
	case *cptoken.PublicKey:
		v.Set(reflect.ValueOf(f.key(path)))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(fmt.Sprint("text-", f.n))
	case reflect.Int64, reflect.Int, reflect.Int32:
		v.SetInt(int64(1_900_000_000 + f.n))
	case reflect.Uint64, reflect.Uint32, reflect.Uint8:
		v.SetUint(uint64(100 + f.n%100))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), path)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			f.fill(v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.fill(key, path+"[key]")
			f.fill(value, path+"[value]")
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				f.fill(v.Field(i), path+"."+v.Type().Field(i).Name)
			}
		}
	default:
		f.t.Fatalf("%s is a %s, which nothing here can fill", path, v.Type())
	}
}

// key makes a public key as its constructor does, and fills what is exported of it.
func (f *filler) key(path string) *cptoken.PublicKey {
	f.t.Helper()
	var id cptoken.KeyID
	var registered cptoken.Constraints
	f.fill(reflect.ValueOf(&id).Elem(), path+".ID")
	f.fill(reflect.ValueOf(&registered).Elem(), path+".Registered")
	k := Key(f.t, id, cptoken.Retiring, &registered)
	for i := range reflect.TypeOf(*k).NumField() {
		if reflect.ValueOf(*k).Field(i).IsZero() {
			f.t.Fatalf("%s.%s of a new key is empty: give it a value here", path, reflect.TypeOf(*k).Field(i).Name)
		}
	}
	return k
}
