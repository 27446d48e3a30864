// Settings of the sockets on which clients are accepted.
import { z } from 'zod'
import { complain, duration, integer, orNull, text } from './kinds.ts'
import { setting } from './setting.ts'

/** Addresses in a list, or with commas between them as PgBouncer has them. */
function addresses() {
  const schema = z
    .union([z.string(), z.array(z.string())])
    .transform((input, context): readonly string[] => {
      const listed = typeof input === 'string' ? input.split(',') : input
      const found = [...new Set(listed.map((each) => each.trim()))]
      if (found.length > 0 && !found.includes('')) return found
      return complain(context, 'names no address', 'write it like 127.0.0.1 or [10.0.0.1, ::1]')
    })
  return { schema, values: 'addresses or host names' }
}

/** File mode as chmod takes it: `0777`; a number of YAML is read as it is written. */
function fileMode() {
  const schema = z.union([z.string(), z.int()]).transform((input, context) => {
    // YAML 1.2 reads 0770 as a decimal number.
    const digits = /^(?:0o)?([0-7]{3,4})$/.exec(String(input))?.[1]
    if (digits !== undefined) return Number.parseInt(digits, 8)
    return complain(context, `"${input}" is not a file mode`, 'write it like "0770"')
  })
  return { schema, values: 'octal mode' }
}

/** The section `listen`. */
export const listenSettings = z
  .strictObject({
    host: setting(addresses(), {
      standard: '127.0.0.1',
      applies: 'restart',
      meaning:
        'Addresses on which clients are accepted: one, a list, or several with commas between; ' +
        '`0.0.0.0` or `::` for all interfaces.',
    }),
    port: setting(integer(0, 65_535), {
      standard: 6432,
      applies: 'restart',
      meaning: 'TCP port on which clients are accepted; 0 takes any free port.',
    }),
    backlog: setting(integer(1, 65_535), {
      standard: 4096,
      applies: 'restart',
      meaning: 'Connections that may wait to be accepted; the system may allow fewer.',
    }),
    tcp_keepalive: setting(duration({ minMs: 0 }), {
      standard: '60s',
      applies: 'restart',
      meaning:
        'Silence after which it is asked whether a client’s machine is still there; 0: never.',
    }),
    unix_socket_dir: setting(orNull(text('directory')), {
      standard: null,
      applies: 'restart',
      meaning:
        'Directory of a Unix socket for clients, named `.s.PGSQL.` and the port as PostgreSQL’s.',
    }),
    unix_socket_mode: setting(fileMode(), {
      standard: '0777',
      applies: 'restart',
      meaning: 'Who may use the Unix socket, as file mode.',
    }),
  })
  .describe('Where clients connect.')
