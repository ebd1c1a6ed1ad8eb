// Package tokenreview proves who a proxy is by the service account token that
// Kubernetes mounts in its pod: the API server of the cluster is asked
// (authentication.k8s.io/v1 TokenReview), and what it answers is held against
// the name of the proxy. Then the pod that the token is bound to is read: its uid and
// its service account must be the token's. A token that is bound to no pod is refused
// unless the settings allow it.
//
// It speaks plain HTTPS with what it needs of the API, a POST, a GET and some fields
// of the answers: client-go would make the zone's binary larger by more than its
// whole budget. Who asks is the zone's own service account, whose token and CA
// Kubernetes mounts too, or a user of a kubeconfig; both are read again and
// again, since Kubernetes replaces them while the zone runs. That account needs
// the right to create tokenreviews (the cluster role system:auth-delegator) and to
// get pods.
//
// An audience is mandatory. A token that a pod carries for the API server itself
// would open that to a zone; one made out to the zone's audience opens nothing
// else. The answer must name the audience, or the API server did not look at it.
//
// An answer is remembered for a minute at most, a refusal for ten seconds, and
// neither past the token's end: a token that Kubernetes has invalidated since,
// because its pod is gone, is accepted for no longer than that. Nothing is
// remembered of a question that could not be asked.
package tokenreview
