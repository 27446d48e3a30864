// Limits of the file divided among workers: whatever the numbers, the shares add up.
import { assert, integer, nat, property } from 'fast-check'
import { describe, expect, it } from 'vitest'
import { share, shareOf, workerCount } from '../../cli/workers/shares.ts'
import { afterFailure, afterOrder, type Order } from '../../cli/workers/standing-orders.ts'
import { configOf, problemsOf } from '../config/files.ts'

const places = (count: number) => Array.from({ length: count }, (_, index) => ({ index, count }))
const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)

const text = (lines: string) => `
users: [{ name: app, password: a }]
${lines}
databases:
  app:
    pool: { size: 7, min: 2, reserve: 1, max_client_conn: 10, max_db_connections: 9 }
    shards: [{ id: s1, primary: "postgres://10.0.0.1:5432/app" }]
`

describe('shares of workers', () => {
  it('add up and differ by one at most', () => {
    assert(
      property(nat(1_000_000), integer({ min: 1, max: 512 }), (total, count) => {
        const shares = places(count).map((place) => share(total, place))
        expect(sum(shares)).toBe(total)
        expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1)
      }),
    )
  })

  it.each([1, 2, 3, 7])('of every limit of the file add up for %i', (count) => {
    const config = configOf(
      text(`workers: ${count}
user_settings: { app: { pool_size: 8, max_user_connections: 9, max_user_client_connections: 11 } }
limits: { max_client_conn: 50, max_user_connections: 13, max_user_client_connections: 17 }`),
    )
    const limits = ({ databases: [app], userPools, sharedLimits }: typeof config) => {
      const user = userPools.get('app')
      return [
        app?.pool.sizeMax,
        app?.pool.sizeMin,
        app?.pool.reserve,
        app?.pool.clientConnectionsMax,
        app?.pool.serverConnectionsMax,
        user?.size,
        user?.serverConnectionsMax,
        user?.clientConnectionsMax,
        sharedLimits.clientConnectionsMax,
        sharedLimits.serverConnectionsPerUserMax,
        sharedLimits.clientConnectionsPerUserMax,
      ].map(Number)
    }
    const shares = places(count).map((place) => limits(shareOf(config, place)))
    const whole = limits(config)
    expect(whole).toEqual([7, 2, 1, 10, 9, 8, 9, 11, 50, 13, 17])
    expect(whole.map((_, at) => sum(shares.map((each) => each[at] ?? 0)))).toEqual(whole)
  })

  it('cannot be had of a limit that is smaller than the number of workers', () => {
    expect(problemsOf(text('workers: 8'))).toEqual([
      expect.stringContaining('databases.app.pool.size: 7 cannot be divided among 8 workers'),
    ])
    expect(problemsOf(text('workers: 4\nlimits: { max_client_conn: 3 }'))).toEqual([
      expect.stringContaining('limits.max_client_conn: 3 cannot be divided among 4 workers'),
    ])
  })

  it('are as many as there are cores with "auto", and no more than can be served', () => {
    const small = text('workers: auto').replace('size: 7, min: 2', 'size: 1, min: 0')
    expect(workerCount(configOf(small))).toBe(1)
    expect(workerCount(configOf(text('workers: 3')))).toBe(3)
  })
})

describe('orders that a new worker begins with', () => {
  const order = (name: string, ...args: string[]): Order => ({ name: `admin ${name}`, args })
  const after = (...orders: Order[]) => orders.reduce(afterOrder, [])

  it.each([
    [[order('pause', 'app')], [order('pause', 'app')]],
    [[order('pause', 'app'), order('resume', 'app')], []],
    [[order('pause', 'app', 's1'), order('resume', 'app')], []],
    [[order('pause', 'app'), order('pause', 'b'), order('resume')], []],
    [[order('pause', 'app'), order('resume', 'b')], [order('pause', 'app')]],
    [[order('disable', 'app'), order('enable', 'app')], []],
    [
      [order('pause', 'app'), order('disable', 'app')],
      [order('pause', 'app'), order('disable', 'app')],
    ],
    [[order('set', 'a', '=', '1'), order('set', 'a', '=', '2')], [order('set', 'a', '=', '2')]],
    [[order('kill_client', '7')], []],
    [[order('kill', 'app')], [order('pause', 'app')]],
    [
      [order('set', 'a', '=', '1'), order('pause', 'app'), order('reload')],
      [order('pause', 'app')],
    ],
  ])('after %j are %j', (given, expected) => {
    expect(after(...given)).toEqual(expected)
  })

  it('are those of before when one has failed, with what others have ordered meanwhile', () => {
    const before = after(order('pause', 'app'))
    const failed = order('resume', 'app')
    const meanwhile = [order('disable', 'b')]
    expect(afterFailure(meanwhile, before, failed)).toEqual([...meanwhile, order('pause', 'app')])
    const paused = order('pause', 'b')
    const now = [...afterOrder(before, paused), order('disable', 'c')]
    expect(afterFailure(now, before, paused)).toEqual([...before, order('disable', 'c')])
    expect(afterFailure([], before, paused)).toEqual([])
  })
})
