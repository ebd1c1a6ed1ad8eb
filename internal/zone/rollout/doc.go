// Package rollout decides what an ADS stream is sent next, so that no change takes from a
// proxy what it still uses. It does no I/O and reads no clock: a [Stream] is told what the
// proxy is to have ([Stream.Want]) and what it says ([Stream.Take]), and says what to send
// ([Stream.Next]).
//
// # Steps
//
// A resource is sent once everything that it refers to is in place: acknowledged by the
// proxy in the version that is wanted, and so is what that refers to in turn. What the
// proxy asks for by name, and has not asked for yet, need not be there: it is enough that
// it could be sent. Resources that refer to each other in a circle do not wait for each
// other. Whatever waits for nothing goes out at once, so that a refusal, or a proxy that
// is slow to answer, holds back only what depends on it. Nothing waits for what is not
// wanted at all: such a name is the operator's own.
//
// A resource that is not wanted any more is removed once nothing that the proxy may hold
// refers to it, in a response that adds nothing. "May hold" counts every version that was
// sent and not yet acknowledged, and what a refused response may have left behind: Envoy
// applies the good part of what it refuses.
//
// # Warming
//
// An Envoy that is given a changed cluster, or a second one for the same assignment, waits
// for the assignment to arrive again, though it has it: in the state of the world it asks
// with the names and the version that it has, in delta it does not ask at all. The same
// holds for whatever else waits for a subscription by name. So behind each resource that
// is new or changed, everything that it subscribes to and that the proxy has already is
// sent once more; and a request that repeats what was answered is answered again, at most
// [repeatsAtOnce] times at once and once every [repeatEvery] after that.
//
// A listener is acknowledged before it is warm, and its predecessor drains behind it. What
// the predecessor referred to stays until the successor's subscriptions are acknowledged and
// [Options.Drain] has passed; after any other change what is not referred to any more stays
// for [Options.Linger], for requests that chose their route before.
//
// # Refusals
//
// After a refusal the proxy is sent the former versions again. Where one resource was new
// in the response it is the refused one; else those that the proxy named are left out, or
// half of them where it named none, and the rest is tried, until the good are acknowledged
// and the bad are known. A version that is known to be bad is not sent again on the stream.
//
// # Probes
//
// A changed listener takes its predecessor's place once what it subscribes to was answered,
// and be it by something that the proxy refuses; so does a changed cluster. So where one
// subscribes to a name that the proxy has not asked for yet, the proxy is given it under
// another name before, a listener without a port, until it has acknowledged all of that.
//
// # Reconnects
//
// In delta a proxy says what it has. In the state of the world it says a version: a
// [Memory] knows for an hour which set that was. What a proxy has and cannot be known is
// taken to refer to everything, until it has been replaced.
package rollout
