// Waiting until every proxy has understood an epoch: nothing that any of them still runs was routed
// by an older topology.
import type { Client } from 'pg'
import {
  forgetProxy,
  listProxies,
  type RegisteredProxy,
  silentMs,
} from '../../catalog/proxy-registry.ts'
import type { Epoch } from '../../core/ids.ts'

const pollMs = 50
const patienceMs = 2_000

/**
 * Takes proxies off the list that are gone for good. Gives what is wrong with each of `ids` that is
 * not.
 */
export async function forgetProxies(
  home: Client,
  ids: readonly string[],
): Promise<readonly string[]> {
  const problems: string[] = []
  for (const id of ids) {
    const proxy = (await listProxies(home)).find((each) => each.id === id)
    if (proxy === undefined || (await forgetProxy(home, id))) continue
    problems.push(`${nameOf(proxy)} is alive: only a proxy that has fallen silent can be forgotten`)
  }
  return problems
}

/** One sentence for each proxy that has fallen silent. */
export async function silentProxies(home: Client): Promise<readonly string[]> {
  const proxies = await listProxies(home)
  return proxies.filter((proxy) => proxy.silentMs > silentMs).map(silence)
}

/**
 * Resolves when all have. `late` is told once who is waited for. @throws the signal's reason; Error
 * naming a proxy that has fallen silent meanwhile
 */
export async function awaitProxies(
  home: Client,
  epoch: Epoch,
  options: { readonly signal: AbortSignal; readonly late: (proxies: readonly string[]) => void },
): Promise<void> {
  const { signal, late } = options
  const startMs = performance.now()
  let told = false
  for (;;) {
    signal.throwIfAborted()
    const behind = (await listProxies(home)).filter(({ epochSeen }) => epochSeen < epoch)
    if (behind.length === 0) return
    const silent = behind.filter((proxy) => proxy.silentMs > silentMs)
    if (silent.length > 0) throw new Error(silent.map(silence).join('\n'))
    if (!told && performance.now() - startMs > patienceMs) {
      told = true
      late(behind.map(nameOf))
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs))
  }
}

function silence(proxy: RegisteredProxy): string {
  const seconds = Math.floor(proxy.silentMs / 1_000)
  return (
    `${nameOf(proxy)} has not been heard of for ${seconds} s: start it again, ` +
    `or if it is gone for good add --forget-proxy ${proxy.id}`
  )
}

function nameOf({ id, address }: RegisteredProxy): string {
  return `proxy "${id}" at ${address}`
}
