// A data directory made once per build of PostgreSQL and copied for every new server: initdb, then
// the role and the database of the demo. A copy takes a tenth of the time of initdb. WAL segments are
// of 1 MB, and only those in use are kept: every server would copy, and later zero, 16 MB each.
import { randomBytes } from 'node:crypto'
import { appendFile, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cachedDirectory } from './cache-dir.ts'
import type { Installation } from './installation.ts'
import { runCommand } from './process.ts'
import { demoRole, superuser } from './roles.ts'
import { giveToServers, makeServerDirectory, serverUser } from './server-user.ts'

/** Grows when what follows writes something else into a template. */
const revision = 4

/** Read by postgresql.conf of every copy; written anew at every start of a server. */
export const settingsFile = 'ringfence.conf'

/** What a new server is a copy of. */
export type Template = {
  /** A cleanly shut down data directory, the servers' own. */
  readonly dataDir: string
  /** Of the superuser. Random per user of the machine: others on it cannot log in. */
  readonly password: string
}

/** The template of that installation, made when there is none yet. */
export async function findTemplate(installation: Installation): Promise<Template> {
  const name = `template-${installation.release}-${installation.build}-${revision}`
  const dir = await cachedDirectory(name, (content) => build(installation, content))
  return {
    dataDir: join(dir, 'data'),
    password: await readFile(join(dir, 'password'), 'utf8'),
  }
}

/**
 * Copies a data directory with its owner; shares blocks with the original where the file system
 * can.
 */
export async function copyDirectory(from: string, to: string): Promise<void> {
  const flags = process.platform === 'linux' ? ['-a', '--reflink=auto'] : ['-Rpc']
  await runCommand('cp', [...flags, from, to])
}

async function build(installation: Installation, dir: string): Promise<void> {
  const dataDir = join(dir, 'data')
  const passwordFile = join(dir, 'initdb-password')
  const password = randomBytes(12).toString('hex')
  await makeServerDirectory(dataDir)
  await writeFile(passwordFile, password, { mode: 0o600 })
  await giveToServers(passwordFile)
  await initialize(installation, dataDir, passwordFile)
  await addDatabase(installation, dataDir)
  await appendFile(join(dataDir, 'postgresql.conf'), `\ninclude_if_exists = '${settingsFile}'\n`)
  await writeFile(join(dir, 'password'), password, { mode: 0o600 })
  await rm(passwordFile)
}

async function initialize(
  installation: Installation,
  dataDir: string,
  passwordFile: string,
): Promise<void> {
  const run = (locale: string) =>
    runCommand(
      join(installation.binDir, 'initdb'),
      [
        `--pgdata=${dataDir}`,
        `--username=${superuser}`,
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        `--locale=${locale}`,
        '--no-sync',
        '--no-instructions',
        '--wal-segsize=1',
      ],
      { ...serverUser(), cwd: '/' },
    )
  // C.UTF-8 knows letters beyond ASCII; not every system has it.
  await run('C.UTF-8').catch((error: Error) => {
    if (!error.message.includes('locale')) throw error
    return run('C')
  })
}

/**
 * In single-user mode, one statement a line. What is here need not be written again by every
 * primary's WAL.
 */
async function addDatabase(installation: Installation, dataDir: string): Promise<void> {
  const { name, password, database } = demoRole
  const statements = [
    `CREATE ROLE ${name} LOGIN PASSWORD '${password}'`,
    // Sees other roles' sessions, locks and replication lag.
    `GRANT pg_monitor TO ${name}`,
    `CREATE DATABASE ${database} OWNER ${name}`,
    // The first makes the WAL that came before superfluous, the second removes it.
    'CHECKPOINT',
    'CHECKPOINT',
  ]
  const settings = ['fsync=off', 'wal_recycle=off', 'exit_on_error=on']
  const args = [
    '--single',
    '-D',
    dataDir,
    ...settings.flatMap((entry) => ['-c', entry]),
    'postgres',
  ]
  const options = { ...serverUser(), cwd: '/', input: `${statements.join('\n')}\n` }
  await runCommand(join(installation.binDir, 'postgres'), args, options)
}
