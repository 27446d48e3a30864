// What servers report at login, from a server that does not answer.
import { afterEach, describe, expect, it } from 'vitest'
import { type Clock, systemClock } from '../../core/clock.ts'
import { shardId } from '../../core/ids.ts'
import { SettingsProfile } from '../../pool/settings-profile.ts'
import { LoginReports } from '../../proxy/login-reports.ts'
import { closePools, poolTo } from '../pool/pools.ts'
import { completeBytes, ScriptedServer } from '../support/scripted-server.ts'

const server = new ScriptedServer()
afterEach(() => {
  closePools()
  server.close()
})

/** Nothing takes longer than a moment. */
const hasty: Clock = {
  ...systemClock,
  after: (delayMs, fire) => systemClock.after(Math.min(delayMs, 200), fire),
}

describe('a login whose settings a server has to look at', () => {
  it('gives that server up when it hangs, and the next one has another', async () => {
    server.answers.push(
      { bytes: Buffer.alloc(0), hangUp: false },
      { bytes: completeBytes, hangUp: false },
    )
    await server.listen()
    const login = { user: 'app', password: null, database: 'app' }
    const place = { shard: shardId('s1'), role: 'primary', host: '127.0.0.1' } as const
    const pool = poolTo({ ...place, port: server.port, ...login }, { size: 1 })
    const reports = new LoginReports(() => pool, false, hasty)
    const settings = SettingsProfile.empty.with('work_mem', "SET work_mem = '1MB'")
    const client = { name: 'app', password: null }
    await expect(reports.of(settings, client)).rejects.toMatchObject({ sqlstate: '08006' })
    const reported = await reports.of(settings, client)
    expect(reported.get('server_version')).toBe('18.0')
    expect(pool.stats).toEqual({ idle: 1, leased: 0, opening: 0, waiting: 0 })
  })
})
