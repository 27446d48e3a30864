// Counters of several workers as one page of Prometheus' text.
import { Counter, Gauge, Registry } from 'prom-client'
import { expect, it } from 'vitest'
import { addUp } from '../../cli/workers/counters.ts'

/** What a worker sends. */
async function counted(clients: number, up: number): Promise<unknown> {
  const registers = [new Registry()]
  const counter = new Counter({
    name: 'ringfence_client_connections_total',
    help: 'c',
    labelNames: ['database'],
    registers,
  })
  counter.inc({ database: 'app' }, clients)
  const gauge = new Gauge({ name: 'ringfence_host_up', help: 'u', labelNames: ['host'], registers })
  gauge.set({ host: 'a' }, up)
  new Gauge({ name: 'ringfence_workers', help: 'w', registers }).set(2)
  return JSON.parse(JSON.stringify(await registers[0]?.getMetricsAsJSON()))
}

const lines = (text: string) =>
  text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))

it('adds up what workers count, and not what they all see', async () => {
  const answers = [
    { worker: 1, value: await counted(3, 1) },
    { worker: 2, value: await counted(4, 0) },
  ]
  expect(lines(await addUp(answers, 'sum'))).toEqual([
    'ringfence_client_connections_total{database="app"} 7',
    'ringfence_host_up{host="a"} 0',
    'ringfence_workers 2',
  ])
  expect(lines(await addUp(answers, 'each'))).toEqual([
    'ringfence_client_connections_total{database="app",worker="1"} 3',
    'ringfence_client_connections_total{database="app",worker="2"} 4',
    'ringfence_host_up{host="a",worker="1"} 1',
    'ringfence_host_up{host="a",worker="2"} 0',
    'ringfence_workers{worker="1"} 2',
    'ringfence_workers{worker="2"} 2',
  ])
})
