package preauth

// Fit is how the descriptors of a process are divided.
type Fit struct {
	// Unauthenticated and Authenticated are connections of callers, Waiting those that
	// wait to be let in.
	Unauthenticated, Waiting, Authenticated int
	// Reserved are for files, peers and the admin socket.
	Reserved int
}

// reserved is what a process needs besides the connections of callers: 32 files, 128
// connections from and to peers, 32 of the admin socket.
const reserved = 192

// maxUnauthenticated is more than the byte budget has room for.
const maxUnauthenticated = 4096

// fitTo divides a limit of descriptors: a quarter for callers who have proved nothing, half
// as many for those who wait, the rest for those who have proved who they are.
func fitTo(limit int) Fit {
	room := max(limit-min(reserved, limit/2), 16)
	unauthenticated := max(min(room/4, maxUnauthenticated), 8)
	waiting := unauthenticated / 2
	return Fit{Unauthenticated: unauthenticated, Waiting: waiting, Authenticated: room - unauthenticated - waiting, Reserved: limit - room}
}

// fallbackDescriptors is what is assumed where a system has no such limit.
const fallbackDescriptors = 65536
