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

  it('resets what the other has more, then sets everything again', () => {
    const applied = set(set(empty, 'a', '1'), 'b', '2')
    expect(applied.without('a').replayFrom(applied)).toBe('RESET "a"\n;SET b TO 2')
    expect(empty.replayFrom(applied)).toBe('RESET "a"\n;RESET "b"')
  })

  it('resets SESSION CHARACTERISTICS by their parts', () => {
    const sql = 'SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY'
    const applied = empty.with('session characteristics', sql)
    expect(empty.replayFrom(applied)).toContain('RESET "default_transaction_read_only"')
  })

  it('quotes names and values so that they cannot end early', () => {
    expect(quoteSetting('my."app.x')).toBe('"my"."""app"."x"')
    expect(quoteLiteral("it's")).toBe("'it''s'")
    expect(quoteLiteral("a\\'b")).toBe(" E'a\\\\''b'")
  })
})
