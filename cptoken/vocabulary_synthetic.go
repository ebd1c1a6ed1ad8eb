//go:build meridian_synthetic

package cptoken

// The vocabulary of a version that does not exist: one more kind and one more
// algorithm. Tests build programs with it, to see what versions that differ do to each
// other. No release is built with this tag.
const (
	Vocabulary = 3

	SyntheticKind      Kind = "workload"
	SyntheticAlgorithm      = "XS256"
)

var (
	Kinds      = [...]Kind{ControlPlane, Zone, Dataplane, User, SyntheticKind}
	Algorithms = [...]string{AlgRS256, SyntheticAlgorithm}
)
