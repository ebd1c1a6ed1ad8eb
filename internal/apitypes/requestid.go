package apitypes

// HeaderRequestID is the header with a request's id, a UUID, under which a change has
// one effect however often it is sent. It counts more than X-Request-Id, which says
// the same to other programs and which proxies replace with an id of their own.
const HeaderRequestID = "Meridian-Request-Id"
