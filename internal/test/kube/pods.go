package kube

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
)

// Pod is a pod that runs, or has run.
type Pod struct {
	UID     string
	Account string // the service account that it runs as
	Phase   string // "" is Running
}

// SetPod replaces a pod, by one with a uid of its own if p has none.
func (a *API) SetPod(namespace, name string, p Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.UID == "" {
		p.UID = rand.Text()
	}
	a.pods[namespace+"/"+name] = &p
}

// EditPod changes a pod that runs.
func (a *API) EditPod(namespace, name string, edit func(*Pod)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	edit(a.pods[namespace+"/"+name])
}

// DeletePod makes the tokens invalid that are bound to the pod.
func (a *API) DeletePod(namespace, pod string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pods, namespace+"/"+pod)
}

// RemakeAccount deletes a service account and makes it again, with another uid.
func (a *API) RemakeAccount(namespace, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.uids[namespace+"/"+name] = rand.Text()
}

// KeepAnswers has reviews answered from memory from now on, as the API server's
// token cache does for a while, so that it misses what changes.
func (a *API) KeepAnswers() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cached = map[string]review{}
}

// ForbidPods has the API server refuse to show pods.
func (a *API) ForbidPods(forbid bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.noPods = forbid
}

// accountUID returns the uid of a service account, which is made where it does not
// exist. The caller holds a.mu.
func (a *API) accountUID(namespace, name string) string {
	uid := a.uids[namespace+"/"+name]
	if uid == "" {
		uid = rand.Text()
		a.uids[namespace+"/"+name] = uid
	}
	return uid
}

// podOf returns the pod that a token is to be bound to, which is made where it does
// not run. The caller holds a.mu.
func (a *API) podOf(who Account) *Pod {
	pod := a.pods[who.Namespace+"/"+who.Pod]
	if pod == nil {
		pod = &Pod{UID: rand.Text(), Account: who.Name}
		a.pods[who.Namespace+"/"+who.Pod] = pod
	}
	return pod
}

// getPod answers GET /api/v1/namespaces/NAMESPACE/pods/NAME.
func (a *API) getPod(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/")
	namespace, name, pods := strings.Cut(rest, "/pods/")
	a.mu.Lock()
	pod, forbidden := a.pods[namespace+"/"+name], a.noPods
	var shown Pod
	if pod != nil {
		shown = *pod
	}
	a.mu.Unlock()
	switch {
	case !ok || !pods || strings.Contains(name, "/"):
		Status(w, http.StatusNotFound, "the server could not find the requested resource")
		return
	case forbidden:
		Status(w, http.StatusForbidden, `pods "`+name+`" is forbidden: User "system:serviceaccount:meridian:zone" cannot get resource "pods" in API group "" in the namespace "`+namespace+`"`)
		return
	case pod == nil:
		Status(w, http.StatusNotFound, `pods "`+name+`" not found`)
		return
	}
	if shown.Phase == "" {
		shown.Phase = "Running"
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": "Pod", "apiVersion": "v1",
		"metadata": map[string]any{"name": name, "namespace": namespace, "uid": shown.UID},
		"spec":     map[string]any{"serviceAccountName": shown.Account, "serviceAccount": shown.Account},
		"status":   map[string]any{"phase": shown.Phase},
	})
}
