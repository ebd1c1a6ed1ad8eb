//go:build !meridian_synthetic

package cptoken

// Vocabulary is the level of the words that this version understands in what a global
// sends to a zone: kinds, algorithms, states of keys, scopes, and what a [Change] can
// be. Level 2 brought [Certificate]. It grows by one with each release that adds one. A zone that meets a word it does
// not know keeps the rest and says what it left out; once upgraded, it tells by the
// level that its copy was made with an older vocabulary, and asks for all of it.
const Vocabulary = 2

// Kinds lists every kind, in the order in which they are shown.
var Kinds = [...]Kind{ControlPlane, Zone, Dataplane, User}

// Algorithms lists the algorithms of the public keys that tokens are verified with.
var Algorithms = [...]string{AlgRS256}
