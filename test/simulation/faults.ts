// What goes wrong, and when: crashes, cuts, bad networks, locks that are lost, operators who change their minds. Every seed
// has a plan of its own; at its end everything is whole again.
import type { MoveWish } from '../../catalog/move-state.ts'
import type { Cluster } from './cluster.ts'
import type { Fleet } from './fleet.ts'

type Fault = (cluster: Cluster, fleet: Fleet) => string

const cutMs = { least: 50, most: 14_000 }
const silenceMs = { least: 4_000, most: 14_000 }
const badNetworkMs = { least: 200, most: 5_000 }
const downMs = { least: 50, most: 3_000 }
const pauseMsMax = 2_000

/** Lets faults happen until `untilMs`, none in one seed of five. */
export function planFaults(cluster: Cluster, fleet: Fleet, untilMs: number): void {
  const { scheduler, trace } = cluster.environment
  const { random } = scheduler
  const count = random.oneIn(5) ? 0 : 1 + random.below(9)
  for (let left = count; left > 0; left -= 1) {
    const [first, ...others] = faults
    const fault = random.pick([first, ...others])
    scheduler.after(scheduler.between(0, untilMs), () => {
      if (scheduler.nowMs < untilMs) trace(`fault: ${fault(cluster, fleet)}`)
    })
  }
  scheduler.after(untilMs, () => {
    cluster.network.calm()
    fleet.restartAll()
  })
}

const crashHost: Fault = ({ environment }, fleet) => fleet.crashHost(later(environment, downMs))
const crashProxy: Fault = ({ environment }, fleet) => fleet.crashProxy(later(environment, downMs))

const crashServer: Fault = ({ environment, shards, catalog }) => {
  const { scheduler } = environment
  const servers = [...shards.values(), catalog]
  const server = servers[scheduler.random.below(servers.length)] ?? catalog
  if (!server.up) return 'none'
  server.crash()
  scheduler.after(later(environment, downMs), () => {
    server.up = true
  })
  return `${server.name} crashes`
}

const cut: Fault = ({ environment, network, shards, catalog }, fleet) => {
  const { random } = environment.scheduler
  const processes = fleet.names
  const servers = [...shards.values(), catalog, catalog].map(({ name }) => name)
  const a = processes[random.below(processes.length)] ?? ''
  const b = servers[random.below(servers.length)] ?? ''
  network.cut(a, b)
  environment.scheduler.after(later(environment, cutMs), () => network.heal(a, b))
  return `${a} and ${b} are cut apart`
}

/** Clients and shards hear of the proxy, the catalog does not. */
const silence: Fault = ({ environment, network, catalog }, fleet) => {
  const proxies = fleet.names.filter((name) => name.startsWith('p'))
  const proxy = proxies[environment.scheduler.random.below(proxies.length)] ?? ''
  network.cut(proxy, catalog.name)
  const forMs = later(environment, silenceMs)
  environment.scheduler.after(forMs, () => network.heal(proxy, catalog.name))
  return `the catalog does not hear ${proxy}`
}

const badNetwork: Fault = ({ environment, network }) => {
  network.lossOneIn = 12
  environment.scheduler.after(later(environment, badNetworkMs), () => {
    network.lossOneIn = 0
  })
  return 'the network loses messages'
}

const lateMessages: Fault = ({ environment, network }) => {
  network.lateOneIn = 8
  environment.scheduler.after(later(environment, badNetworkMs), () => {
    network.lateOneIn = 0
  })
  return "movers' messages are late"
}

const loseLock: Fault = ({ catalog, environment }, fleet) => {
  const { active } = catalog
  const move = active[environment.scheduler.random.below(Math.max(1, active.length))]
  if (move === undefined) return 'none'
  fleet.loseLock(move.id)
  return `the lock of move ${move.id} is lost`
}

const stopRunner: Fault = ({ catalog, environment }, fleet) => {
  const { active } = catalog
  const move = active[environment.scheduler.random.below(Math.max(1, active.length))]
  if (move === undefined) return 'none'
  fleet.stopRunner(move.id)
  return `the runner of move ${move.id} is asked to leave`
}

const wish: Fault = ({ catalog, environment }) => {
  const { scheduler } = environment
  const { active } = catalog
  const move = active[scheduler.random.below(Math.max(1, active.length))]
  if (move === undefined) return 'none'
  const wanted: MoveWish = scheduler.random.pick(['abort', 'rollback', 'complete', 'pause'])
  catalog.wish(move.id, wanted)
  if (wanted === 'pause') {
    scheduler.after(scheduler.between(0, pauseMsMax), () => {
      if (catalog.read(move.id).wish === 'pause') catalog.wish(move.id, null)
    })
  }
  return `${wanted} of move ${move.id} is wished`
}

const faults: readonly [Fault, ...Fault[]] = [
  crashHost,
  crashProxy,
  crashServer,
  cut,
  cut,
  silence,
  silence,
  badNetwork,
  lateMessages,
  loseLock,
  loseLock,
  stopRunner,
  wish,
  wish,
]

function later(
  { scheduler }: Cluster['environment'],
  { least, most }: { readonly least: number; readonly most: number },
): number {
  return scheduler.between(least, most)
}
