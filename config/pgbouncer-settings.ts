// PgBouncer's settings that ringfence.yaml has no line for, and why. `needless`: Ringfence does it anyway, or has no use
// for it. `missing`: something is lost, so whoever imports is warned.

/** Why a setting is not taken over. */
export type Unmapped = { readonly kind: 'needless' | 'missing'; readonly reason: string }

const noTls = 'this version speaks no TLS; put it before the proxy, or keep it on a private network'
const noLimit = 'there is no such limit; pools are limited by pool.size, clients by max_client_conn'
const noTimeout = 'set it on the role: ALTER ROLE … SET statement_timeout, idle_session_timeout'
const lookedUp = 'users are not looked up in a database; list them under "users"'
const byItself = 'Ringfence resets a server connection by itself, as far as it was changed'
const toStderr = 'the log goes to stderr; its level is log.level'
const system = 'nothing of the kind is needed'
const oneProcess = 'this version runs in one process; run several proxies behind one address'

const missing = (reason: string): Unmapped => ({ kind: 'missing', reason })
const needless = (reason: string): Unmapped => ({ kind: 'needless', reason })

/** Of the section [pgbouncer]. */
export const unmappedSettings: ReadonlyMap<string, Unmapped> = new Map([
  ...named('auth_query auth_user auth_dbname', missing(lookedUp)),
  ...named('auth_hba_file auth_ident_file', missing('write the rules under auth.rules')),
  ...named('auth_ldap_options auth_ldap_parameter', missing('there is no login by LDAP')),
  ...named('stats_users', missing('only admins reach the console; metrics are at /metrics')),
  ...named('unix_socket_dir unix_socket_mode unix_socket_group', missing('it listens on TCP only')),
  ...named('min_pool_size', missing('connections are opened on demand')),
  ...named('reserve_pool_size reserve_pool_timeout', missing('there are no reserve connections')),
  ...named('max_db_connections max_db_client_connections max_user_connections', missing(noLimit)),
  ...named('max_user_client_connections', missing(noLimit)),
  ...named(
    'query_timeout client_idle_timeout cancel_wait_timeout suspend_timeout',
    missing(noTimeout),
  ),
  ...named('client_tls_ca_file client_tls_cert_file client_tls_key_file', missing(noTls)),
  ...named('server_tls_ca_file server_tls_cert_file server_tls_key_file', missing(noTls)),
  ...named('so_reuseport peer_id', missing(oneProcess)),
  ...named('application_name_add_host', missing('application_name is passed on as it is')),
  ...named(
    'server_connect_timeout server_login_retry',
    needless('servers are watched and retried'),
  ),
  ...named('server_reset_query server_reset_query_always', needless(byItself)),
  ...named('server_check_query server_check_delay server_fast_close', needless(byItself)),
  ...named('server_round_robin track_extra_parameters', needless(system)),
  ...named('ignore_startup_parameters', needless('all parameters are taken and follow the client')),
  ...named(
    'max_prepared_statements',
    needless('prepared statements follow the client, all of them'),
  ),
  ...named('disable_pqexec', needless('statements of one string are judged one by one')),
  ...named('logfile syslog syslog_ident syslog_facility', needless(toStderr)),
  ...named('log_connections log_disconnections log_pooler_errors log_stats', needless(toStderr)),
  ...named('stats_period verbose', needless(toStderr)),
  ...named('pidfile user service_name job_name conffile', needless('leave it to the supervisor')),
  ...named(
    'listen_backlog pkt_buf sbuf_loopcnt tcp_defer_accept tcp_socket_buffer',
    needless(system),
  ),
  ...named(
    'tcp_keepalive tcp_keepcnt tcp_keepidle tcp_keepintvl tcp_user_timeout',
    needless(system),
  ),
  ...named('dns_max_ttl dns_nxdomain_ttl dns_zone_check_period resolv_conf', needless(system)),
  ...named('autodb_idle_timeout max_packet_size query_wait_notify', needless(system)),
  ...named(
    'client_tls_protocols client_tls_ciphers client_tls_ecdhcurve client_tls_dheparams',
    needless(noTls),
  ),
  ...named(
    'server_tls_protocols server_tls_ciphers client_tls13_ciphers server_tls13_ciphers',
    needless(noTls),
  ),
  ...named('scram_iterations', needless('give it to "ringfence hash-password --iterations"')),
])

/** Of one database's line. */
export const unmappedConnection: ReadonlyMap<string, Unmapped> = new Map([
  ...named('auth_user auth_query auth_dbname', missing(lookedUp)),
  ...named('connect_query', missing('set it on the role: ALTER ROLE … SET')),
  ...named('client_encoding datestyle timezone', missing('set it on the role: ALTER ROLE … SET')),
  ...named('min_pool_size', missing('connections are opened on demand')),
  ...named('reserve_pool reserve_pool_size', missing('there are no reserve connections')),
  ...named('max_db_connections max_db_client_connections', missing(noLimit)),
  ...named('load_balance_hosts', needless('replicas share the reads by themselves')),
  ...named('application_name', missing('application_name is the client’s own')),
])

/** Of a setting that is in neither list. */
export const unknownSetting: Unmapped = missing('this import does not know it')

function named(names: string, unmapped: Unmapped): readonly (readonly [string, Unmapped])[] {
  return names.split(' ').map((name) => [name, unmapped] as const)
}
