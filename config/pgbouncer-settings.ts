// PgBouncer's settings that ringfence.yaml has no line for, and why. `needless`: Ringfence does it anyway, or has no use
// for it. `missing`: something is lost, so whoever imports is warned. docs/pgbouncer.md tells it of all settings.

/** Why a setting is not taken over. */
export type Unmapped = { readonly kind: 'needless' | 'missing'; readonly reason: string }

const byItself = 'Ringfence finds out by itself, as far as there is something to find'
const toStderr = 'the log goes to stderr; its level is log.level'
const system = 'nothing of the kind is needed'
const supervisor = 'leave it to the supervisor'
const handshake = 'Node decides: safe curves and TLS 1.3 ciphers alone'

const missing = (reason: string): Unmapped => ({ kind: 'missing', reason })
const needless = (reason: string): Unmapped => ({ kind: 'needless', reason })

/** Of the section [pgbouncer]. */
export const unmappedSettings: ReadonlyMap<string, Unmapped> = new Map([
  ...named('auth_ident_file', missing('write its lines under auth.user_map')),
  ...named('auth_ldap_options auth_ldap_parameter', missing('there is no login by LDAP')),
  ...named('unix_socket_group', missing('give the directory of the socket to that group')),
  ...named('suspend_timeout', needless('SUSPEND waits until no statement is under way')),
  ...named(
    'disable_pqexec',
    missing('statements of one string are judged one by one, not refused'),
  ),
  ...named('login_notify_message', missing('there is no welcome message')),
  ...named('server_reset_query_always', needless('settings and statements follow the client')),
  ...named('server_check_query server_check_delay', needless(byItself)),
  ...named('server_fast_close', missing('in session mode RECONNECT waits for the client’s end')),
  ...named('track_extra_parameters', needless('all parameters are tracked')),
  ...named('ignore_startup_parameters', needless('all parameters are taken and follow the client')),
  ...named(
    'max_prepared_statements',
    needless('prepared statements follow the client, all of them'),
  ),
  ...named('pool_idle_timeout', needless('an empty pool costs next to nothing')),
  ...named('so_reuseport', needless('workers says how many processes share the port')),
  ...named('peer_id', needless('a cancel request reaches the right worker by itself')),
  ...named('logfile syslog syslog_ident syslog_facility log_stats verbose', needless(toStderr)),
  ...named('user service_name job_name conffile', needless(supervisor)),
  ...named('pkt_buf sbuf_loopcnt tcp_defer_accept tcp_socket_buffer', needless(system)),
  ...named('tcp_keepcnt tcp_keepintvl tcp_user_timeout', needless('ten probes, one each second')),
  ...named('dns_max_ttl dns_nxdomain_ttl dns_zone_check_period resolv_conf', needless(system)),
  ...named('client_tls_ecdhcurve client_tls_dheparams', needless(handshake)),
  ...named('client_tls13_ciphers server_tls13_ciphers', needless(handshake)),
  ...named('scram_iterations', needless('give it to "ringfence hash-password --iterations"')),
])

/** Of one database's line. */
export const unmappedConnection: ReadonlyMap<string, Unmapped> = new Map([
  ...named('auth_user auth_query auth_dbname', missing('auth.query is one for all databases')),
  ...named('load_balance_hosts', needless('replicas share the reads by themselves')),
  ...named('target_session_attrs', needless('which server is the primary is found out')),
  ...named('application_name', missing('application_name is the client’s own')),
])

/** Of a setting that is in neither list. */
export const unknownSetting: Unmapped = missing('this import does not know it')

function named(names: string, unmapped: Unmapped): readonly (readonly [string, Unmapped])[] {
  return names.split(' ').map((name) => [name, unmapped] as const)
}
