// Collections that are made with their first entry are those that they stand for.
import { array, assert, constantFrom, nat, property, record } from 'fast-check'
import { expect, it } from 'vitest'
import { LateMap, LateSet } from '../../core/late.ts'

const key = constantFrom('a', 'b', 'c')
const step = record({ what: constantFrom('add', 'delete', 'clear'), key, value: nat(9) })
const steps = array(step, { maxLength: 30 })

it('a late map answers as a Map does', () => {
  assert(
    property(steps, (all) => {
      const [late, map] = [new LateMap<string, number>(), new Map<string, number>()]
      for (const { what, key: name, value } of all) {
        if (what === 'add') {
          late.set(name, value)
          map.set(name, value)
        } else if (what === 'delete') expect(late.delete(name)).toBe(map.delete(name))
        else {
          late.clear()
          map.clear()
        }
        expect(late.get(name)).toBe(map.get(name))
        expect(late.has(name)).toBe(map.has(name))
        expect([late.size, [...late], [...late.keys()]]).toEqual([
          map.size,
          [...map],
          [...map.keys()],
        ])
      }
    }),
  )
})

it('a late set answers as a Set does', () => {
  assert(
    property(steps, (all) => {
      const [late, set] = [new LateSet<string>(), new Set<string>()]
      for (const { what, key: name } of all) {
        if (what === 'add') {
          late.add(name)
          set.add(name)
        } else if (what === 'delete') expect(late.delete(name)).toBe(set.delete(name))
        else {
          late.clear()
          set.clear()
        }
        expect(late.has(name)).toBe(set.has(name))
        expect([late.size, [...late]]).toEqual([set.size, [...set]])
      }
    }),
  )
})
