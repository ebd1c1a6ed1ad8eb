package federation

// Bounds of what operators write, the same at every door: the command line, the API
// and the replicated state. Those of tokens stand in package cptoken (MaxKIDLen,
// MaxIDLen, MaxTokenBytes).
const (
	// MaxReason bounds why something was revoked or cut off, in bytes.
	MaxReason = 500
	// MaxRelayMeshes bounds the meshes that a zone's record may let it relay for.
	MaxRelayMeshes = 1000
)
