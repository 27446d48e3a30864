// Settings as one immutable value: what is replayed brings one profile to another.
import { describe, expect, it } from 'vitest'
import { quoteLiteral, quoteSetting, SettingsProfile } from '../../pool/settings-profile.ts'

const empty = SettingsProfile.empty
const set = (profile: SettingsProfile, name: string, value: string) =>
  profile.with(name, `SET ${name} TO ${value}`)

describe('a settings profile', () => {
  it('equals another with the same settings, whatever order they were made in', () => {
    const first = set(set(empty, 'a', '1'), 'b', '2')
    const second = set(set(empty, 'b', '2'), 'a', '1')
    expect(first.equals(second)).toBe(true)
    expect(first.replayFrom(second)).toBe('')
    expect(first.equals(set(first, 'a', '2'))).toBe(false)
  })

  it('is empty again once everything was taken back', () => {
    expect(set(empty, 'a', '1').without('a')).toBe(empty)
    expect(empty.without('a')).toBe(empty)
  })

  it('replays only what differs', () => {
    const applied = set(set(empty, 'a', '1'), 'b', '2')
    expect(set(applied, 'b', '3').replayFrom(applied)).toBe('SET b TO 3')
    expect(applied.replayFrom(empty)).toBe('SET a TO 1\n;SET b TO 2')
  })

  it('resets what the other has more', () => {
    const applied = set(set(empty, 'a', '1'), 'b', '2')
    expect(applied.without('a').replayFrom(applied)).toBe('RESET "a"')
    expect(empty.replayFrom(applied)).toBe('RESET "a"\n;RESET "b"')
  })

  it('reads constants alike under settings that only differ in their words', () => {
    const called = (value: string) =>
      empty.with(
        'client_encoding',
        `SELECT pg_catalog.set_config('client_encoding', '${value}', false)`,
      )
    expect(called('utf-8').literals).toBe(called('UTF8').literals)
    expect(called("''utf-8''").literals).toBe(called('UTF8').literals)
    expect(set(empty, 'client_encoding', "'Utf8'").literals).toBe(called('utf-8').literals)
    expect(called('LATIN1').literals).not.toBe(called('UTF8').literals)
    expect(set(empty, 'timezone', "'UTC'").literals).not.toBe(
      set(empty, 'timezone', "'CET'").literals,
    )
  })

  it('keeps of DateStyle what the last SET did not name', () => {
    const iso = set(empty, 'datestyle', 'iso')
    expect(set(iso, 'datestyle', 'ymd').get('datestyle')).toBe(
      'RESET "datestyle"\n;SET datestyle TO iso\n;SET datestyle TO ymd',
    )
    const full = set(iso, 'datestyle', "'SQL, DMY'")
    expect(full.get('datestyle')).toBe("SET datestyle TO 'SQL, DMY'")
    expect(set(set(full, 'datestyle', 'ymd'), 'datestyle', 'mdy').get('datestyle')).toBe(
      "SET datestyle TO 'SQL, DMY'\n;SET datestyle TO mdy",
    )
    let many = empty
    for (let at = 0; at < 100; at += 1) many = set(many, 'datestyle', `iso /* ${at} */`)
    expect(many.get('datestyle')?.split(';').length).toBeLessThanOrEqual(16)
  })

  it('acts as somebody else last, and stops that first', () => {
    const a = set(empty, 'role', 'x')
    expect(set(a, 'b', '2').replayFrom(a)).toBe('RESET "role"\n;SET b TO 2\n;SET role TO x')
    const both = set(set(empty, 'session_authorization', 'u'), 'role', 'x')
    expect(empty.replayFrom(both)).toBe('RESET "role"\n;RESET "session_authorization"')
    const replayed = 'SET session_authorization TO u\n;SET role TO x'
    expect(both.replayFrom(empty)).toBe(replayed)
  })

  it('forgets the role with another session user, and keeps both over RESET ALL', () => {
    const acting = set(set(empty, 'session_authorization', 'u'), 'role', 'x')
    expect(acting.without('session_authorization').get('role')).toBeUndefined()
    expect(set(acting, 'session_authorization', 'v').get('role')).toBeUndefined()
    expect(set(acting, 'session_authorization', 'u').get('role')).toBeUndefined()
    const started = set(empty, 'a', '1')
    expect(set(acting, 'a', '2').resetTo(started).key).toBe(set(acting, 'a', '1').key)
  })

  it('reads constants as another profile does, and nothing else', () => {
    const before = set(set(empty, 'datestyle', 'DMY'), 'a', '1')
    const now = set(set(empty, 'timezone', 'UTC'), 'a', '2')
    expect(now.readingAs(before).key).toBe(set(set(empty, 'a', '2'), 'datestyle', 'DMY').key)
    expect(now.readingAs(now)).toBe(now)
  })

  it('quotes names and values so that they cannot end early', () => {
    expect(quoteSetting('my."app.x')).toBe('"my"."""app"."x"')
    expect(quoteLiteral("it's")).toBe("'it''s'")
    expect(quoteLiteral("a\\'b")).toBe(" E'a\\\\''b'")
  })
})
