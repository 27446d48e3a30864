// The graph of ties by itself: what is known from a source, and what is not.
import { describe, expect, it } from 'vitest'
import { TieGraph } from '../../router/ties.ts'

describe('tie graph', () => {
  it('follows filters in their direction only', () => {
    const graph = new TieGraph()
    const [source, a, b, c] = [graph.addSource(), graph.add(), graph.add(), graph.add()]
    graph.tie(source, a)
    graph.tie(a, b)
    graph.tie(c, a)
    expect(graph.knownFrom(source)).toEqual(new Set([source, a, b]))
    expect(graph.knownFrom(c).has(b)).toBe(true)
  })

  it('knows a derived column when every arm is known, and passes a filter on to all arms', () => {
    const graph = new TieGraph()
    const [source, other, a, b] = [graph.addSource(), graph.addSource(), graph.add(), graph.add()]
    const union = graph.addDerived([a, b], true)
    graph.tie(source, a)
    expect(graph.knownFrom(source).has(union)).toBe(false)
    graph.tie(source, b)
    expect(graph.knownFrom(source).has(union)).toBe(true)
    graph.tie(other, union)
    expect(graph.knownFrom(other)).toEqual(new Set([other, union, a, b]))
  })

  it('lets no filter into a subquery that it would change', () => {
    const graph = new TieGraph()
    const [source, a] = [graph.addSource(), graph.add()]
    const limited = graph.addDerived([a], false)
    graph.tie(source, limited)
    expect(graph.knownFrom(source).has(a)).toBe(false)
  })

  it('does not take a constant column for another constant of the same statement', () => {
    const graph = new TieGraph()
    const [five, eight, a] = [graph.addSource(), graph.addSource(), graph.add()]
    const column = graph.addDerived([eight], true)
    graph.tie(five, column)
    graph.tie(eight, a)
    expect(graph.knownFrom(five).has(a)).toBe(false)
  })

  it('believes a recursive column only while its recursive arm agrees', () => {
    const build = (carries: boolean) => {
      const graph = new TieGraph()
      const [source, first, joined] = [graph.addSource(), graph.add(), graph.add()]
      const self = graph.addAssumed(first)
      graph.tie(source, first)
      graph.tie(self, joined)
      graph.closeAssumed(self, carries ? joined : null)
      return { known: graph.knownFrom(source), self, joined }
    }
    const carried = build(true)
    expect(carried.known.has(carried.self) && carried.known.has(carried.joined)).toBe(true)
    const lost = build(false)
    expect(lost.known.has(lost.self) || lost.known.has(lost.joined)).toBe(false)
  })
})
