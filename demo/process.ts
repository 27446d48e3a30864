// What the operating system says of a process: is it the one we mean, and is it still there.
// A process id alone proves nothing after a crash, since it may belong to somebody else by now.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'

const onLinux = process.platform === 'linux'

/**
 * `pid` and the time it started, which no later process shares; null when it is gone or a zombie.
 */
export function processIdentity(pid: number): string | null {
  if (!onLinux) {
    const started = askPs(pid, 'lstart=')
    return started === '' ? null : `${pid} ${started}`
  }
  const stat = readProc(`${pid}/stat`)
  // proc_pid_stat(5): the name in parentheses may hold spaces; after it, field 3 is the state and
  // 22 the start.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const state = fields[0] ?? ''
  if (stat === '' || state === 'Z' || state === 'X') return null
  return `${pid} ${fields[19] ?? ''}`
}

/** Command line of `pid` with spaces between the arguments; empty when it is gone. */
export function commandLine(pid: number): string {
  if (!onLinux) return askPs(pid, 'command=')
  return readProc(`${pid}/cmdline`).replaceAll('\0', ' ')
}

/** Children of `pid`; empty where the system does not tell. */
export function childrenOf(pid: number): readonly number[] {
  if (!onLinux) return []
  const list = readProc(`${pid}/task/${pid}/children`).trim()
  return list === '' ? [] : list.split(' ').map(Number)
}

/** Sends `signal`; false when the process is gone. */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal)
  } catch {
    return false
  }
}

/** Waits until `done()` holds, asking every 10 ms; false when `deadlineMs` passed first. */
export async function waitUntil(
  done: () => boolean | Promise<boolean>,
  deadlineMs: number,
): Promise<boolean> {
  const deadline = performance.now() + deadlineMs
  while (!(await done())) {
    if (performance.now() > deadline) return false
    await delay(10)
  }
  return true
}

/** As whom, where and with what to run a command. */
export type CommandOptions = {
  readonly uid?: number
  readonly gid?: number
  readonly cwd?: string
  /** For its stdin. */
  readonly input?: string
}

/** Runs a command to its end and gives its stdout. Throws with its stderr when it fails. */
export async function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const { input = '', ...spawnOptions } = options
  const child = spawn(command, args, { ...spawnOptions, stdio: ['pipe', 'pipe', 'pipe'] })
  // A command that ends without reading its input says why on stderr.
  child.stdin.once('error', () => undefined)
  child.stdin.end(input)
  const [stdout, stderr, status] = await Promise.all([
    readAll(child.stdout),
    readAll(child.stderr),
    exitStatus(child),
  ])
  if (status === '0') return stdout
  throw new Error(`${command} failed (${status}): ${stderr.trim() || stdout.trim()}`)
}

async function readAll(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

function exitStatus(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) => resolve(String(code ?? signal)))
  })
}

function readProc(path: string): string {
  try {
    return readFileSync(`/proc/${path}`, 'utf8')
  } catch {
    return ''
  }
}

function askPs(pid: number, column: string): string {
  return spawnSync('ps', ['-o', column, '-p', String(pid)], { encoding: 'utf8' }).stdout.trim()
}
