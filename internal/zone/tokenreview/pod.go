package tokenreview

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// pod is a Pod of the core API (v1), as much of it as is needed.
type pod struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		UID       string `json:"uid"`
	} `json:"metadata"`
	Spec struct {
		ServiceAccount string `json:"serviceAccountName"`
	} `json:"spec"`
	Status struct {
		Phase string `json:"phase"`
	} `json:"status"`
}

// pod reads a pod, nil if there is none of this name.
func (s *apiServer) pod(ctx context.Context, namespace, name string) (*pod, error) {
	req, err := s.request(ctx, http.MethodGet, "/api/v1/namespaces/"+url.PathEscape(namespace)+"/pods/"+url.PathEscape(name), nil)
	if err != nil {
		return nil, err
	}
	resp, data, err := s.do(req)
	if err != nil {
		return nil, err
	}
	var got pod
	switch {
	case resp.StatusCode == http.StatusNotFound && isStatus(data):
		return nil, nil
	case resp.StatusCode != http.StatusOK:
		return nil, declined(resp, data, "", "allow the service account that the zone asks as to get pods in every namespace: docs/authentication.md has the ClusterRole")
	case json.Unmarshal(data, &got) != nil || got.Kind != "Pod":
		return nil, &fault{text: "the answer is not a Pod", final: true, hint: notAnAPIServer}
	}
	return &got, nil
}

// isStatus reports whether an answer is one that an API server gives: a 404 of
// something else says nothing of a pod.
func isStatus(data []byte) bool {
	var said struct {
		Kind   string `json:"kind"`
		Reason string `json:"reason"`
	}
	return json.Unmarshal(data, &said) == nil && said.Kind == "Status" && said.Reason == "NotFound"
}

// holds refuses an identity whose token is bound to another pod than the one that
// was read: the API server may answer a review from its memory, and what a token
// says of its pod's account is what was true when it was issued.
func (p *pod) holds(id Identity) error {
	switch {
	case p == nil:
		return refusal(NotAuthenticated, "the pod %.80s/%.80s that the token is bound to is gone", id.Namespace, id.Pod).
			WithHint("present the token of a pod that runs")
	case p.Metadata.Name != id.Pod || p.Metadata.Namespace != id.Namespace || p.Metadata.UID != id.PodUID:
		return refusal(NotAuthenticated, "the token is bound to an earlier pod of the name %.80s/%.80s", id.Namespace, id.Pod).
			WithHint("present the token in the file of the pod that runs now")
	case p.Spec.ServiceAccount != id.ServiceAccount:
		return refusal(WrongServiceAccount, "the token is of the service account %.80q, its pod runs as %.80q", id.ServiceAccount, p.Spec.ServiceAccount).
			WithHint("present the token that Kubernetes projects into the pod")
	case p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed":
		return refusal(NotAuthenticated, "the pod %.80s/%.80s that the token is bound to has ended (%s)", id.Namespace, id.Pod, p.Status.Phase).
			WithHint("present the token of a pod that runs")
	}
	return nil
}
