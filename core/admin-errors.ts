// Rows of the error table about the admin console.
import type { ErrorSpec } from './error-spec.ts'

export const adminErrors = {
  adminCommandUnknown: {
    sqlstate: '42601',
    message: 'invalid command "%s"',
    hint: 'SHOW HELP lists the commands of the admin console.',
    meaning: 'The admin console has no such command, or not with these words behind it.',
    retry: 'useless',
  },
  adminTargetUnknown: {
    sqlstate: '3D000',
    message: '%s "%s" does not exist',
    hint: 'SHOW SHARDS lists databases and their shards, SHOW CLIENTS the clients by their id.',
    meaning: 'A command of the admin console names what is not there.',
    retry: 'useless',
  },
  adminOnly: {
    sqlstate: '42501',
    severity: 'FATAL',
    message: 'permission denied for the admin console',
    hint: 'Log in as a user that the configuration marks with "admin: true" or "stats: true".',
    meaning: 'Only admins, and who may look, may connect to the database "ringfence".',
    retry: 'useless',
  },
  adminRoleNeeded: {
    sqlstate: '42501',
    message: 'admin access is needed for "%s"',
    hint: 'Log in as a user that the configuration marks with "admin: true".',
    meaning: 'Who may only look at statistics has asked for more than SHOW.',
    retry: 'useless',
  },
  adminValueInvalid: {
    sqlstate: '22023',
    message: 'invalid value for %s: %s',
    hint: 'SHOW CONFIG lists the settings with their values, SHOW CLIENTS the clients by their id.',
    meaning: 'A command of the admin console was given a value that it cannot use.',
    retry: 'useless',
  },
  adminState: {
    sqlstate: '55000',
    message: '%s',
    hint: 'SHOW STATE and SHOW DATABASES tell what is paused or disabled.',
    meaning: 'A command of the admin console does not fit the state that the proxy is in.',
    retry: 'useless',
  },
  killedByAdmin: {
    sqlstate: '57P01',
    severity: 'FATAL',
    message: 'terminating connection due to administrator command',
    meaning: 'KILL or KILL_CLIENT in the admin console has ended the session.',
    retry: 'safe',
  },
  adminFds: {
    sqlstate: '0A000',
    message: 'SHOW FDS is not available: sockets are not handed over through the console',
    hint: 'SHOW SOCKETS shows them; "ringfence upgrade" hands them to a new process.',
    meaning:
      'PgBouncer’s SHOW FDS passes file descriptors over a Unix socket, for its restart alone.',
    retry: 'useless',
  },
  adminSettingFixed: {
    sqlstate: '55P02',
    message: 'setting "%s" cannot be changed by SET',
    hint: 'Change the file and RELOAD, or restart; SHOW CONFIG tells which settings SET changes.',
    meaning: 'SET in the admin console names a setting that is unknown or only read from the file.',
    retry: 'useless',
  },
  adminStatements: {
    sqlstate: '54000',
    message: 'more than %s prepared statements or portals in the admin console',
    hint: 'Close some of them.',
    meaning: 'A session of the admin console has prepared very many statements.',
    retry: 'useless',
  },
  reloadRefused: {
    sqlstate: 'F0000',
    message: 'the configuration was not reloaded: %s',
    hint: 'Nothing has changed. "ringfence check" names all that is wrong with the file.',
    meaning: 'RELOAD in the admin console met a file that cannot be used.',
    retry: 'useless',
  },
} as const satisfies Record<string, ErrorSpec>
