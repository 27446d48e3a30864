// `ringfence serve` over one plain database, in one process or several, as tests start, watch and end it.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDatabases } from '../support/databases.ts'
import type { Place } from '../support/stack.ts'
import type { TestServers } from '../support/servers.ts'
import { Program } from './program.ts'

/** A file over one database, and the proxies that were started with it. */
export type Pooler = {
  readonly path: string
  readonly text: string
  /** Superuser connection URL of the server. */
  readonly url: string
  /** Number of the process that serves, as its pid file says. */
  pid(): Promise<number>
  /** Rewrites the file. */
  write(text: string): Promise<void>
  /** Starts a proxy; resolves once it says that it is ready. */
  serve(): Promise<Serving>
  remove(): Promise<void>
}

/** A proxy under way. */
export type Serving = {
  readonly program: Program
  readonly place: Place
  readonly admin: Place
  readonly http: string
}

/** `lines` stand at the top of the file, `pool` is the database's. */
export async function createPooler(
  servers: TestServers,
  { lines = '', pool = '{}' }: { readonly lines?: string; readonly pool?: string } = {},
): Promise<Pooler> {
  const databases = await createDatabases(
    { ...servers, shards: servers.shards.slice(0, 1) },
    'pool',
  )
  const [url = ''] = databases.urls
  const dir = await mkdtemp(join(tmpdir(), 'rf-pooler-'))
  const path = join(dir, 'ringfence.yaml')
  const text = `listen: { host: 127.0.0.1, port: 0 }
http: { host: 127.0.0.1, port: 0 }
pid_file: pid
users: [{ name: app, password: pencil, admin: true }]
${lines}
databases:
  app:
    pool: ${pool}
    shards: [{ id: s1, primary: "${url}" }]
`
  await writeFile(path, text)
  const programs: Program[] = []
  const pid = async () => Number(await readFile(join(dir, 'pid'), 'utf8'))
  return {
    path,
    text,
    url,
    pid,
    write: (changed) => writeFile(path, changed),
    serve: async () => {
      const program = new Program(['serve', '--config', path])
      programs.push(program)
      const [line] = await program.printed('stderr', /^.*"msg":"ready".*$/m)
      const { port, http }: { port: number; http: number } = JSON.parse(line)
      const place = { host: '127.0.0.1', port, user: 'app', password: 'pencil', database: 'app' }
      const admin = { ...place, database: 'ringfence' }
      return { program, place, admin, http: `http://127.0.0.1:${http}` }
    },
    remove: async () => {
      const last = await pid().catch(() => 0)
      for (const each of [...programs.map((program) => program.pid), last]) {
        if (each === 0) continue
        // Workers end with it.
        kill(each)
      }
      await databases.drop()
      await rm(dir, { recursive: true, force: true })
    },
  }
}

/** Process ids of the processes that `pid` has started. */
export async function childrenOf(pid: number): Promise<readonly number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return text.split(' ').filter(Boolean).map(Number)
}

/** Ends a process; one that has ended already is none. */
export function kill(pid: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended before.
  }
}

/** Whether there is such a process. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
