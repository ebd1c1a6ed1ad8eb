// Package paging cuts the lists of an HTTP API into pages, as clients of Kuma's ask for
// them: ?size= and ?offset=, with the address of the next page in the answer.
package paging

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// page cuts out of all items what ?size= and ?offset= ask for.
func page[T any](r *http.Request, all []T) (part []T, next *string, err error) {
	query := r.URL.Query()
	size, err := Int(query, "size", apitypes.DefaultPage, 1, apitypes.MaxPage)
	if err != nil {
		return nil, nil, err
	}
	offset, err := Int(query, "offset", 0, 0, 1<<31)
	if err != nil {
		return nil, nil, err
	}
	if offset >= len(all) {
		return nil, nil, nil
	}
	end := min(offset+size, len(all))
	if end < len(all) {
		next = Next(r, url.Values{"offset": {strconv.Itoa(end)}, "size": {strconv.Itoa(size)}})
	}
	return all[offset:end], next, nil
}

// List renders the page of a list that a request asks for.
func List[T, J any](r *http.Request, all []T, render func(T) J) (apitypes.List[J], error) {
	part, next, err := page(r, all)
	if err != nil {
		return apitypes.List[J]{}, err
	}
	list := apitypes.List[J]{Total: len(all), Items: make([]J, 0, len(part)), Next: next}
	for _, item := range part {
		list.Items = append(list.Items, render(item))
	}
	return list, nil
}

// Int reads a number of a query, absent where it has none.
func Int(query url.Values, name string, absent, least, most int) (int, error) {
	values, given := query[name]
	if !given || len(values) == 1 && values[0] == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(values[0])
	if err != nil || len(values) > 1 || n < least || n > most {
		return 0, federation.InvalidField(name, "must be one number from %d to %d", least, most)
	}
	return n, nil
}

// Next is the address of the page with the given query, as the caller
// addressed this one.
func Next(r *http.Request, query url.Values) *string {
	u := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawQuery: query.Encode()}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	s := u.String()
	return &s
}
