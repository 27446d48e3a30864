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
        const [gone, goneToo] = [late, map].map((one) => {
          if (what === 'add') one.set(name, value)
          else if (what === 'clear') one.clear()
          return what === 'delete' && one.delete(name)
        })
        expect(gone).toBe(goneToo)
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
        const [gone, goneToo] = [late, set].map((one) => {
          if (what === 'add') one.add(name)
          else if (what === 'clear') one.clear()
          return what === 'delete' && one.delete(name)
        })
        expect(gone).toBe(goneToo)
        expect(late.has(name)).toBe(set.has(name))
        expect([late.size, [...late]]).toEqual([set.size, [...set]])
      }
    }),
  )
})
