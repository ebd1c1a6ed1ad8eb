package keyring

import "github.com/meridiankds/meridian/federation"

// Method is a way in which proxies prove who they are.
type Method string

// The methods, in Kuma's words.
const (
	// ZoneToken: a zone token whose scope is the use of the proxy.
	ZoneToken Method = "zoneToken"
	// DataplaneToken: a dataplane token. Zone proxies, which belong to no mesh,
	// cannot have one.
	DataplaneToken Method = "dpToken"
	// ServiceAccountToken: the token of a Kubernetes service account, which the
	// cluster's API server vouches for.
	ServiceAccountToken Method = "serviceAccountToken"
	// None: nothing. Any proxy can say that it is any other.
	None Method = "none"
)

// validateMethod checks the type of zoneProxy or, where dataplane is set, dpProxy.
func validateMethod(field string, m Method, dataplane bool) error {
	switch m {
	case ZoneToken, ServiceAccountToken, None:
		return nil
	case DataplaneToken:
		if dataplane {
			return nil
		}
		return federation.InvalidField(field, "dpToken is for data plane proxies: a zone proxy belongs to no mesh").
			WithHint("use zoneToken, serviceAccountToken or none")
	}
	words := "zoneToken, serviceAccountToken or none"
	if dataplane {
		words = "dpToken, " + words
	}
	return federation.InvalidField(field, "%.40q is not a way to authenticate: use %s", m, words)
}

// legacyMethods are what Kuma's older dpServer.auth.type stands for.
func legacyMethods(field string, m Method) (zoneProxy, dataplane Method, err error) {
	switch m {
	case "":
		return "", "", nil
	case DataplaneToken:
		return ZoneToken, DataplaneToken, nil
	case ServiceAccountToken, None:
		return m, m, nil
	}
	return "", "", federation.InvalidField(field, "%.40q is not a way to authenticate: use dpToken, serviceAccountToken or none", m)
}
