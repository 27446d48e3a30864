// `ringfence upgrade`: has running proxies start a new process of the program and the file as they are now, which takes
// the port over.
import { type ProxyAddress, tellProxy } from './admin-client.ts'
import { readConfig } from './load-config.ts'
import type { ProxyAt } from './options.ts'
import { adminOf, proxiesOf, proxyName } from './proxies.ts'

export type UpgradeOptions = {
  readonly config: string
  /** Empty: the file's own. */
  readonly proxy: readonly ProxyAt[]
  readonly timeoutMs: number
  readonly json: boolean
}

type Outcome = {
  readonly proxy: string
  readonly upgraded: boolean
  /** Null when it was upgraded. */
  readonly reason: string | null
}

/**
 * One proxy after the other, so that a program that does not work stops at the first. Gives the exit code: 0 when the
 * new process of every proxy serves.
 */
export async function upgradeCommand(
  { config: file, proxy, timeoutMs, json }: UpgradeOptions,
  print: (text: string) => void,
): Promise<number> {
  const config = await readConfig(file)
  const login = adminOf(config)
  const outcomes: Outcome[] = []
  for (const address of proxiesOf(config, proxy)) {
    if (!json) print(`${proxyName(address)}: starting a new process\n`)
    const outcome = await upgradeOne(address, login, timeoutMs)
    outcomes.push(outcome)
    if (!json) print(`${outcome.proxy}: ${outcome.reason ?? 'the new process serves'}\n`)
    if (!outcome.upgraded) break
  }
  if (json) print(`${JSON.stringify(outcomes, null, 2)}\n`)
  return outcomes.every(({ upgraded }) => upgraded) ? 0 : 1
}

async function upgradeOne(
  address: ProxyAddress,
  login: ReturnType<typeof adminOf>,
  timeoutMs: number,
): Promise<Outcome> {
  const proxy = proxyName(address)
  const told = await tellProxy(address, login, 'UPGRADE', AbortSignal.timeout(timeoutMs))
  if (told.kind === 'done') return { proxy, upgraded: true, reason: null }
  return { proxy, upgraded: false, reason: told.reason }
}
