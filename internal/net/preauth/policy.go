// Package preauth, continued: what holds at each port.
//
// # Policy
//
// The ports, what counts as proof there, what is answered without, and what a policy of
// none may hold. A row with * says how everything else is met that a listener is asked;
// every route and every method of gRPC has one of its own. TestEveryDoorHasAPolicy and
// TestEveryRouteAndMethodHasAPolicy (internal/test/arch) fail for what has none.
//
//	program port listener     what                       proof                            none
//	global  5681 api          *                          user token, or loopback*         -
//	global  5682 api-tls      *                          user token or certificate        -
//	global  5683 peers        *                          another member of the cluster    -
//	global  5685 kds          *                          control plane token, certificate one zone's, by address
//	global  5680 diagnostics  *                          public                           -
//	global  -    admin-socket *                          who can open the socket          -
//	zone    5678 proxies      *                          nothing else is answered         -
//	zone    5681 api          *                          user token, or loopback*         -
//	zone    5680 diagnostics  *                          public                           -
//	zone    -    api-socket   *                          who can open the socket          -
//	global  5681-2 api,api-tls,admin-socket GET /{$}  public, with less in it  -
//	global  5681-2 api,api-tls,admin-socket GET /who-am-i  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/status  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /zones  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /zones/_overview  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /zones+insights  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /zones/{zone}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket PUT /zones/{zone}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket DELETE /zones/{zone}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/zones  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/zones/{zone}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket PUT /v1/zones/{zone}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/requests/{id}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/audit  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/cluster  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/cluster/transfer-leader  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/cluster/remove  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/cluster/confirm-loss  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/trust  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/expelled  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/expelled  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket DELETE /v1/expelled/{id}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /meshes  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /meshes/{mesh}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket PUT /meshes/{mesh}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket DELETE /meshes/{mesh}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /global-secrets  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /global-secrets/{name}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket PUT /global-secrets/{name}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket DELETE /global-secrets/{name}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /globalsecrets  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /globalsecrets/{name}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket PUT /globalsecrets/{name}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket DELETE /globalsecrets/{name}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /meshes/{mesh}/secrets  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /meshes/{mesh}/secrets/{name}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket PUT /meshes/{mesh}/secrets/{name}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket DELETE /meshes/{mesh}/secrets/{name}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /tokens/control-plane  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /tokens/zone  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /tokens/dataplane  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /tokens/user  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/keys  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/keys/{kind}/{kid}/holding  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/keys/prepare  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/keys/activate  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/keys/retire  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/keys/remove  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/public-keys  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/public-keys/{kind}/{kid}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket PUT /v1/public-keys/{kind}/{kid}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket DELETE /v1/public-keys/{kind}/{kid}  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/revocations  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/revocations  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/revocations/withdraw  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/snapshot  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/snapshot/restore  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/seal  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/seal/rotate  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/seal/rotate-cluster-secret  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/revocations/bulk  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/revocation-lists  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/cut-offs  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/cut-offs/withdraw  as the listener's  -
//	global  5680   diagnostics GET /healthy  public  -
//	global  5680   diagnostics GET /ready  public  -
//	global  5683   peers POST /v1/peer/hello  the seal key  -
//	global  5683   peers POST /v1/peer/promise  the seal key  -
//	global  5683   peers POST /v1/peer/join  the seal key  -
//	global  5683   peers POST /v1/peer/standing  the seal key  -
//	global  5683   peers POST /v1/peer/report  the seal key of a member  -
//	global  5683   peers POST /v1/peer/read-index  the seal key of a member  -
//	global  5683   peers POST /v1/peer/picture  the seal key of a member  -
//	global  5683   peers POST /v1/peer/see-zone  the seal key of a member  -
//	global  5683   peers POST /v1/peer/audit  the seal key of a member  -
//	global  5683   peers /v1/peer/api/  the seal key of a member  -
//	global  5680   diagnostics GET /metrics  public  -
//	global  5680   diagnostics GET /debug/pprof/  public, where profiles are asked for  -
//	global  5680   diagnostics GET /debug/pprof/cmdline  public, where profiles are asked for  -
//	global  5680   diagnostics GET /debug/pprof/profile  public, where profiles are asked for  -
//	global  5680   diagnostics GET /debug/pprof/symbol  public, where profiles are asked for  -
//	global  5680   diagnostics GET /debug/pprof/trace  public, where profiles are asked for  -
//	global  5685   kds /kuma.mesh.v1alpha1.KDSSyncService/GlobalToZoneSync  as the listener's  one zone's, by address
//	global  5685   kds /kuma.mesh.v1alpha1.GlobalKDSService/HealthCheck  as the listener's  one zone's, by address
//	global  5685   kds /kuma.mesh.v1alpha1.GlobalKDSService/StreamXDSConfigs  as the listener's  one zone's, by address
//	global  5685   kds /kuma.mesh.v1alpha1.GlobalKDSService/StreamStats  as the listener's  one zone's, by address
//	global  5685   kds /kuma.mesh.v1alpha1.GlobalKDSService/StreamClusters  as the listener's  one zone's, by address
//	global  5685   kds /grpc.health.v1.Health/Check  public  -
//	zone    5678   proxies /grpc.health.v1.Health/Check  public  -
//	global  5685   kds /meridian.v1.Relay/DataplaneToken  as the listener's  -
//	zone    5680   diagnostics GET /metrics  public  -
//	zone    5680   diagnostics GET /debug/pprof/  public, where profiles are asked for  -
//	zone    5680   diagnostics GET /debug/pprof/cmdline  public, where profiles are asked for  -
//	zone    5680   diagnostics GET /debug/pprof/profile  public, where profiles are asked for  -
//	zone    5680   diagnostics GET /debug/pprof/symbol  public, where profiles are asked for  -
//	zone    5680   diagnostics GET /debug/pprof/trace  public, where profiles are asked for  -
//	zone    5680   diagnostics GET /healthy  public  -
//	zone    5680   diagnostics GET /ready  public  -
//	zone    5678   proxies GET /v1/jwks/*  public  -
//	zone    5678   proxies POST /bootstrap  proxy's token  one quota, by address
//	zone    5678   proxies POST /v1/authenticate  a proxy's token in the body  one quota, by address
//	zone    5678   proxies POST /v1/authenticate/batch  a proxy's token in the body  one quota, by address
//	zone    5678   proxies * /v1/authorize  a good token in its headers; the same below it  one quota, by address
//	zone    5678   proxies POST /v1/introspect  a good token in the body  one quota, by address
//	zone    5678   proxies GET /v1/jwks/zone  public  -
//	zone    5681   api,api-socket POST /tokens/dataplane  as the listener's  -
//	zone    5681   api,api-socket GET /  as the listener's  -
//	zone    5681   api,api-socket GET /v1/status  as the listener's  -
//	zone    5681   api,api-socket GET /v1/proxies  as the listener's  -
//	zone    5678   proxies /envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources  proxy's token  one quota, by address
//	zone    5678   proxies /envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources  proxy's token  one quota, by address
//	zone    5678   proxies /envoy.service.auth.v3.Authorization/Check  a good token in the question  one quota, by address
//	global  5683   peers POST /v1/peer/clock  the seal key of a member  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/cut-offs  as the listener's  -
//	global  5685   kds /kuma.mesh.v1alpha1.KDSSyncService/ZoneToGlobalSync  as the listener's  one zone's, by address
//	global  5681-2 api,api-tls,admin-socket GET /v1/log-level  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket POST /v1/log-level  as the listener's  -
//	zone    5681   api,api-socket GET /v1/proxies/config  as the listener's  -
//	zone    5681   api,api-socket POST /v1/xds/accept  as the listener's  -
//	zone    5681   api,api-socket GET /v1/log-level  as the listener's  -
//	zone    5681   api,api-socket POST /v1/log-level  as the listener's  -
//	global  5681-2 api,api-tls,admin-socket GET /v1/support-dump  as the listener's  -
//	zone    5681   api,api-socket GET /v1/support-dump  as the listener's  -
//
// Loopback counts as proof where --localhost-is-admin says so.
package preauth
