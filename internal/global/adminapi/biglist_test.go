package adminapi

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/net/preauth"
)

// uuids makes ids of the usual size.
func uuids(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("7d444840-9dc0-41d1-b245-%012d", i)
	}
	return ids
}

// What can be read can be written: a list of far more than a megabyte.
func TestLargeLists(t *testing.T) {
	e := newEnv(t)
	const n = 40_000
	ids := uuids(n)
	var got apitypes.RevokeResult
	w := e.want(200, "POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "zone", IDs: ids}, &got)
	if got.Revoked != n || got.Named != n || len(got.IDs) != apitypes.MaxIDs || got.InForce != apitypes.AtZones || w.Body.Len() > 1<<20 {
		t.Errorf("revoked %d of %d, %d bytes of answer with %d ids", got.Revoked, got.Named, w.Body.Len(), len(got.IDs))
	}

	var secret apitypes.Secret
	w = e.want(200, "GET", "/global-secrets/zone-token-revocations", nil, &secret)
	if len(secret.Data) < n*36 {
		t.Fatalf("read %d bytes", len(secret.Data))
	}
	secret.Data = append(secret.Data, ",one-more"...)
	var change apitypes.SecretChange
	e.want(200, "PUT", "/global-secrets/zone-token-revocations", secret, &change, "If-Match", w.Header().Get("ETag"))
	if change.Added != 1 || e.store.RevocationCount(cptoken.Zone, "") != n+1 {
		t.Errorf("written back with one more: %+v", change)
	}

	var list apitypes.List[apitypes.Secret]
	w = e.want(200, "GET", "/global-secrets", nil, &list)
	if w.Body.Len() > 100<<10 || strings.Contains(w.Body.String(), `"data":null`) {
		t.Errorf("the listing has %d bytes", w.Body.Len())
	}
	for _, s := range list.Items {
		if isList := strings.HasSuffix(s.Name, "-revocations"); isList != (len(s.Data) == 0) || s.CreationTime == nil {
			t.Errorf("listed %s with %d bytes of data and the time %v", s.Name, len(s.Data), s.CreationTime)
		}
	}

	var withdrawn apitypes.WithdrawResult
	e.want(200, "POST", "/v1/revocations/withdraw", apitypes.WithdrawRequest{Kind: "zone", IDs: ids}, &withdrawn)
	if withdrawn.Withdrawn != n || withdrawn.Named != n || len(withdrawn.IDs) != apitypes.MaxIDs {
		t.Errorf("withdrew %d of %d", withdrawn.Withdrawn, withdrawn.Named)
	}

	// The room is for lists, and for admins.
	e.refused(413, "PUT", "/zones/west", `{"name":"`+strings.Repeat("a", maxBody)+`"}`)
	e.refused(413, "PUT", "/global-secrets/zone-token-signing-key-2", `{"data":"`+strings.Repeat("A", maxBody)+`"}`)
	reader := e.api.Handler(Network)
	if w := e.callAs(reader, "POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "zone", IDs: ids}); w.Code != 401 {
		t.Errorf("a stranger's list: %d", w.Code)
	}
	if leave, err := e.api.large.Queue.Enter(t.Context(), preauth.Named("")); err != nil || e.api.large.Queue.Waits() != 0 {
		t.Error("the place of a large body stays taken")
	} else {
		leave()
	}
}

func TestWhereARevocationCounts(t *testing.T) {
	e := newEnv(t)
	var got apitypes.RevokeResult
	e.want(200, "POST", "/v1/revocations", `{"kind":"control-plane","ids":["a"]}`, &got)
	if got.Revoked != 1 || got.InForce != apitypes.AtGlobal || got.Revision != e.head().String() {
		t.Errorf("of a control plane token: %+v", got)
	}
	e.want(200, "POST", "/v1/revocations", `{"kind":"zone","ids":["a"]}`, &got)
	if got.InForce != apitypes.AtZones {
		t.Errorf("of a zone token: %+v", got)
	}
}
