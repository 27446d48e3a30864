// The bounded queue that waiters stand in.
import { describe, expect, it } from 'vitest'
import { BoundedQueue } from '../../core/queue.ts'

describe('a bounded queue', () => {
  it('gives items back in the order in which they came', () => {
    const queue = new BoundedQueue<string>(3)
    for (const item of ['a', 'b', 'c']) expect(queue.push(item)).toBe(true)
    expect([...queue]).toEqual(['a', 'b', 'c'])
    expect([queue.shift(), queue.shift(), queue.shift(), queue.shift()]).toEqual([
      'a',
      'b',
      'c',
      undefined,
    ])
  })

  it('refuses what would exceed its maximum, and takes again once there is room', () => {
    const queue = new BoundedQueue<number>(2)
    expect([queue.push(1), queue.push(2), queue.push(3)]).toEqual([true, true, false])
    expect(queue.size).toBe(2)
    queue.shift()
    expect(queue.push(4)).toBe(true)
    expect([...queue]).toEqual([2, 4])
  })

  it('lets an item leave from the middle', () => {
    const queue = new BoundedQueue<string>(3)
    for (const item of ['a', 'b', 'c']) queue.push(item)
    expect(queue.remove('b')).toBe(true)
    expect(queue.remove('b')).toBe(false)
    expect([...queue]).toEqual(['a', 'c'])
  })
})
