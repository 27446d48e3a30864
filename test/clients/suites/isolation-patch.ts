// isolationtester finds out whether a session waits for another by the process ID that it was told at login. Behind a pooler
// that is not the server's: the built one looks the session up by its application_name, which isolationtester gives to
// each session and which the proxy carries to whatever server works for it. Of a server that has run another client's
// SERIALIZABLE transaction before PostgreSQL does not tell whom it waits for with its own: that it waits is enough.
// Both sides run the same program.
import { readFile, writeFile } from 'node:fs/promises'

const waitQuery = [
  'SELECT coalesce(bool_or(pg_catalog.pg_isolation_test_session_is_blocked(pid,',
  "  ARRAY(SELECT pid FROM pg_catalog.pg_stat_activity WHERE application_name ~ '^isolation/'))",
  "  OR wait_event = 'SafeSnapshot'),",
  '  false) FROM pg_catalog.pg_stat_activity WHERE application_name = $1',
]

const changes: readonly (readonly [from: RegExp, to: string])[] = [
  [
    /appendPQExpBufferStr\(&wait_query,\s+"SELECT pg_catalog\.pg_isolation[^]*?"\}'\)"\);/,
    `appendPQExpBufferStr(&wait_query, "${waitQuery.join(' ')}");`,
  ],
  [
    /conns\[i\]\.backend_pid_str = psprintf\("%d", conns\[i\]\.backend_pid\);/,
    'conns[i].backend_pid_str = psprintf("%s", PQgetvalue(res, 0, 0));',
  ],
]

/** @throws when `path` is not the source that this was written for */
export async function findBlockedByName(path: string): Promise<void> {
  let source = await readFile(path, 'utf8')
  for (const [from, to] of changes) {
    if (!from.test(source)) throw new Error(`"${path}" holds nothing like ${String(from)}`)
    source = source.replace(from, () => to)
  }
  await writeFile(path, source)
}
