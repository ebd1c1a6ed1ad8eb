package apitypes

import (
	"slices"
	"strings"
)

// HeaderMembers is in the answers to Meridian's own command lines: what operators call each
// member of the global, as ID=NAME, parted by commas. Answers name members by their ids.
const HeaderMembers = "Meridian-Members"

// FormatMembers writes names of members, by their ids, for the header.
func FormatMembers(names map[string]string) string {
	var list []string
	for id, name := range names {
		list = append(list, id+"="+name)
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

// ParseMembers reads what [FormatMembers] wrote; nil where nothing is written.
func ParseMembers(header string) (names map[string]string) {
	for pair := range strings.SplitSeq(header, ",") {
		if id, name, ok := strings.Cut(pair, "="); ok && id != "" {
			if names == nil {
				names = map[string]string{}
			}
			names[id] = name
		}
	}
	return names
}
