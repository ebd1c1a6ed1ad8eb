package tokenreview

import (
	"strings"

	"github.com/meridiankds/meridian/federation"
)

// Labels of a proxy's resource that must not contradict its token. They prove
// nothing: the proxy wrote them itself.
const (
	LabelNamespace      = "k8s.kuma.io/namespace"
	LabelServiceAccount = "k8s.kuma.io/service-account"
)

// Proxy is what a proxy says of itself in its resource.
type Proxy struct {
	// Name is the resource's: that of the pod, with ".<namespace>" behind it.
	Name   string
	Labels map[string]string
}

// Check returns nil if the identity may speak for the proxy, else a
// federation.Error of the code Forbidden.
//
// Names are a zone's own and not a namespace's, so that a proxy's name must end in
// its namespace, as Kuma names the proxies of pods: without that two pods of two
// namespaces could pass for each other.
func (id Identity) Check(p Proxy) error {
	pod, suffix, dotted := cutLast(p.Name)
	label, labelled := p.Labels[LabelNamespace]
	switch {
	case !dotted:
		return forbidden(WrongNamespace, "the name of the proxy, %.80q, does not end in its namespace", p.Name).
			WithHint("name it %.80s.%s", p.Name, id.Namespace)
	case suffix != id.Namespace:
		return forbidden(WrongNamespace, "the token is of the namespace %.80q, the proxy's name ends in %.80q", id.Namespace, suffix).
			WithHint("name the proxy POD.%s, or give it a token of its own namespace", id.Namespace)
	case labelled && label != id.Namespace:
		return forbidden(WrongNamespace, "the token is of the namespace %.80q, the proxy's label says %.80q", id.Namespace, label).
			WithHint("the label %s of the proxy must be that of its pod", LabelNamespace)
	}
	if account, ok := p.Labels[LabelServiceAccount]; ok && account != id.ServiceAccount {
		return forbidden(WrongServiceAccount, "the token is of the service account %.80q, the proxy's label says %.80q", id.ServiceAccount, account).
			WithHint("run the pod with the service account that the label %s names", LabelServiceAccount)
	}
	if id.Pod != "" && id.Pod != pod {
		return forbidden(WrongName, "the token is bound to the pod %.80q, the proxy's name is %.80q", id.Pod, p.Name).
			WithHint("name the proxy %.80s.%s", id.Pod, id.Namespace)
	}
	return nil
}

// cutLast splits a name at its last dot: a namespace has none in it, a pod's name
// may.
func cutLast(name string) (pod, namespace string, ok bool) {
	at := strings.LastIndexByte(name, '.')
	if at < 0 {
		return name, "", false
	}
	return name[:at], name[at+1:], true
}

func forbidden(reason, format string, args ...any) *federation.Error {
	return federation.Errorf(federation.Forbidden, format, args...).WithReason(reason)
}
