// The value of a boolean setting, read back from the statement that set it.
import { describe, expect, it } from 'vitest'
import { isOn } from '../../router/setting-value.ts'

describe('a boolean setting', () => {
  it.each([
    'SET default_transaction_read_only = on',
    'set default_transaction_read_only to TRUE',
    "SET SESSION default_transaction_read_only TO 'yes' ;",
    'SET default_transaction_read_only=1',
    'SET default_transaction_read_only = "on"',
    "/* why */ -- because\n SET default_transaction_read_only = 't'",
    "SELECT pg_catalog.set_config('default_transaction_read_only', 'on', false)",
    "SELECT set_config( 'default_transaction_read_only' , 'true' , false )",
    'SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY',
    'set session characteristics as transaction  read only;',
  ])('is on after %s', (sql) => {
    expect(isOn(sql)).toBe(true)
  })

  it.each([
    'SET default_transaction_read_only = off',
    'SET default_transaction_read_only = 0',
    'SET default_transaction_read_only TO DEFAULT',
    "SET default_transaction_read_only = 'o'",
    "SET default_transaction_read_only = E'on'",
    'SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE',
    'SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, READ WRITE',
    "SELECT pg_catalog.set_config('default_transaction_read_only', 'off', false)",
    "SELECT pg_catalog.set_config('default_transaction_read_only', $1, false)",
    '-- SET default_transaction_read_only = on',
    '',
  ])('is not surely on after %s', (sql) => {
    expect(isOn(sql)).toBe(false)
  })
})
