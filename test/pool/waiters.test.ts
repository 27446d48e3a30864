// The queue of who waits for a server, against a model of arrays: in turn among shares, in order within one, nobody
// forgotten, nobody told twice.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { assert } from '../../core/assert.ts'
import type { Clock, Timer } from '../../core/clock.ts'
import { pgError } from '../../core/errors.ts'
import { Waiter, Waiters } from '../../pool/waiters.ts'

/** A clock that stands until it is moved. */
class HandClock implements Clock {
  #now = 0
  readonly #timers = new Set<{ readonly atMs: number; readonly fire: () => void }>()

  readonly nowMs = () => this.#now

  readonly after = (delayMs: number, fire: () => void): Timer => {
    const timer = { atMs: this.#now + delayMs, fire }
    this.#timers.add(timer)
    return { cancel: () => void this.#timers.delete(timer) }
  }

  get timers(): number {
    return this.#timers.size
  }

  move(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const due = [...this.#timers].filter(({ atMs }) => atMs <= end)
      const [next] = due.sort((a, b) => a.atMs - b.atMs)
      if (next === undefined) break
      this.#timers.delete(next)
      this.#now = Math.max(this.#now, next.atMs)
      next.fire()
    }
    this.#now = end
  }
}

class Noted extends Waiter {
  readonly name: string
  readonly told: string[]

  constructor(share: string, name: string, told: string[]) {
    super(share)
    this.name = name
    this.told = told
  }

  granted(): void {
    this.told.push(`${this.name} granted`)
  }

  refused(): void {
    this.told.push(`${this.name} refused`)
  }
}

function queueOf(sizeMax: number, waitMs = 0) {
  const clock = new HandClock()
  const late = () => pgError('poolTimeout', ['s1', waitMs])
  const waiters = new Waiters({ clock, late, reminded: () => undefined })
  waiters.bind({ sizeMax, waitMs, reminderMs: 0 })
  return { clock, waiters }
}

describe('who waits', () => {
  it('is served in turn among shares, in order within one', () => {
    const { waiters } = queueOf(100)
    const names = ['a1', 'a2', 'a3', 'b1', 'c1', 'b2']
    for (const name of names) waiters.push(new Noted(name.charAt(0), name, []))
    const served = names.map(() => waiters.shift())
    const order = served.map((waiter) => (waiter instanceof Noted ? waiter.name : null))
    expect(order).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'a3'])
    expect(waiters.shift()).toBeUndefined()
  })

  it('is refused at its deadline, by one timer for all', () => {
    const { clock, waiters } = queueOf(100, 50)
    const told: string[] = []
    for (const name of ['a1', 'b1', 'a2']) {
      waiters.push(new Noted(name.charAt(0), name, told))
      clock.move(20)
    }
    expect(clock.timers).toBe(1)
    expect(told).toEqual(['a1 refused'])
    clock.move(10)
    expect(told).toEqual(['a1 refused', 'b1 refused'])
    clock.move(20)
    expect(told).toEqual(['a1 refused', 'b1 refused', 'a2 refused'])
    expect([waiters.size, clock.timers]).toEqual([0, 0])
  })

  it('makes room for a shorter share when the queue is full', () => {
    const { waiters } = queueOf(3)
    const flood = ['a1', 'a2', 'a3'].map((name) => new Noted('a', name, []))
    for (const each of flood) expect(waiters.push(each)).toBeNull()
    expect(waiters.push(new Noted('b', 'b1', []))).toBe(flood[2])
    const second = new Noted('b', 'b2', [])
    expect(waiters.push(second)).toBe(second)
    expect(waiters.size).toBe(3)
  })

  type Step =
    | { readonly kind: 'push'; readonly share: string }
    | { readonly kind: 'shift' }
    | { readonly kind: 'leave'; readonly at: number }
    | { readonly kind: 'pass'; readonly ms: number }
  const step: fc.Arbitrary<Step> = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({ kind: fc.constant('push'), share: fc.constantFrom('a', 'b', 'c') }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('shift') }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave'), at: fc.nat(20) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('pass'), ms: fc.nat(40) }) },
  )

  it('is what a model of arrays says, whatever is done', () => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 60 }),
        fc.integer({ min: 1, max: 12 }),
        (steps, bound) => {
          const { clock, waiters } = queueOf(bound, 100)
          const model = new Model(bound, 100)
          const told: string[] = []
          let count = 0
          for (const each of steps) {
            if (each.kind === 'push') {
              const waiter = new Noted(each.share, `${each.share}${(count += 1)}`, told)
              const out = waiters.push(waiter)
              out?.refused(pgError('poolQueueFull', ['s1']))
              model.push(waiter, clock.nowMs())
            } else if (each.kind === 'shift') {
              const next = waiters.shift()
              if (next instanceof Noted) next.granted()
              model.shift()
            } else if (each.kind === 'leave') {
              const waiter = model.leave(each.at)
              if (waiter !== undefined) waiters.leave(waiter)
            } else {
              clock.move(each.ms)
              model.pass(clock.nowMs())
            }
            expect(waiters.size).toBe(model.size)
            expect([...told].sort()).toEqual([...model.told].sort())
          }
          waiters.refuseAll(pgError('notAccepting'))
          expect(new Set(told.map((each) => each.split(' ')[0])).size).toBe(told.length)
          expect(told.length + model.left).toBe(count)
        },
      ),
      { numRuns: 500 },
    )
  })
})

/** Shares in the order of their turns, each with who waits. */
class Model {
  readonly told: string[] = []
  left = 0
  readonly #bound: number
  readonly #waitMs: number
  #turns: { share: string; line: { waiter: Noted; sinceMs: number }[] }[] = []

  constructor(bound: number, waitMs: number) {
    this.#bound = bound
    this.#waitMs = waitMs
  }

  get size(): number {
    return this.#turns.reduce((sum, { line }) => sum + line.length, 0)
  }

  push(waiter: Noted, nowMs: number): void {
    const own = this.#turns.find(({ share }) => share === waiter.share)
    if (this.size >= this.#bound) {
      const most = Math.max(0, ...this.#turns.map(({ line }) => line.length))
      if (most <= (own?.line.length ?? 0) + 1) {
        this.told.push(`${waiter.name} refused`)
        return
      }
      this.#evict(most, waiter)
    }
    const line = this.#turns.find(({ share }) => share === waiter.share)
    if (line === undefined) {
      this.#turns.push({ share: waiter.share, line: [{ waiter, sinceMs: nowMs }] })
    } else line.line.push({ waiter, sinceMs: nowMs })
  }

  /** Of several longest ones the model cannot know which: the queue has told. */
  #evict(most: number, newcomer: Noted): void {
    const told = newcomer.told.at(-1)?.split(' ')[0]
    const longest = this.#turns.find(
      ({ line }) => line.length === most && line.at(-1)?.waiter.name === told,
    )
    assert(longest !== undefined, 'the newest of a longest share was refused')
    const last = longest.line.pop()
    this.told.push(`${last?.waiter.name ?? ''} refused`)
    this.#drop()
  }

  shift(): void {
    const turn = this.#turns.shift()
    const next = turn?.line.shift()
    if (turn === undefined || next === undefined) return
    this.told.push(`${next.waiter.name} granted`)
    if (turn.line.length > 0) this.#turns.push(turn)
  }

  leave(at: number): Noted | undefined {
    const all = this.#turns.flatMap(({ line }) => line)
    const gone = all[at % Math.max(1, all.length)]
    if (gone === undefined) return undefined
    for (const turn of this.#turns) turn.line = turn.line.filter((each) => each !== gone)
    this.#drop()
    this.left += 1
    return gone.waiter
  }

  pass(nowMs: number): void {
    for (const turn of this.#turns) {
      const late = turn.line.filter(({ sinceMs }) => sinceMs + this.#waitMs <= nowMs)
      for (const { waiter } of late) this.told.push(`${waiter.name} refused`)
      turn.line = turn.line.filter((each) => !late.includes(each))
    }
    this.#drop()
  }

  #drop(): void {
    this.#turns = this.#turns.filter(({ line }) => line.length > 0)
  }
}
