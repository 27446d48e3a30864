// Shapes by template, and by exact text where a template is not enough. Bounded; an entry holds one
// variant per search path, since the same words may name other tables there.
import { LRUCache } from 'lru-cache'
import type { Shape } from './route.ts'
import type { ReplicaRules } from './schema.ts'

/**
 * A statement's shape and its place among the semicolons of the string: −1 stands for start or end.
 */
export type PlacedShape = {
  readonly shape: Shape
  readonly after: number
  readonly before: number
}

/** Everything besides the text that a shape depends on; compared by identity. */
export type CacheContext = {
  readonly schemaVersion: number
  readonly path: string
  readonly replicaRules: ReplicaRules | null
}

type Variant = {
  readonly context: CacheContext
  readonly shapes: readonly PlacedShape[] | 'exactOnly'
}

const variantsMax = 8
const none: readonly Variant[] = []
/** Longer texts are planned each time: they are rare, and would fill the memory. */
const textBytesMax = 64 * 1024

export class PlanCache {
  readonly #entries: LRUCache<string, Variant[]>
  /** How often a text was known, and how often not. */
  hits = 0
  misses = 0

  constructor(entriesMax: number) {
    this.#entries = new LRUCache({ max: entriesMax })
  }

  get size(): number {
    return this.#entries.size
  }

  /** Shapes kept under `key`; 'exactOnly' when only the exact text can have any. */
  find(key: string, context: CacheContext): readonly PlacedShape[] | 'exactOnly' | undefined {
    for (const variant of this.#entries.get(key) ?? none) {
      if (variant.context !== context) continue
      this.hits += 1
      return variant.shapes
    }
    this.misses += 1
    return undefined
  }

  keep(key: string, context: CacheContext, shapes: readonly PlacedShape[] | 'exactOnly'): void {
    if (key.length > textBytesMax) return
    // Of an older schema nothing will be asked again under the same path.
    const others = (this.#entries.get(key) ?? []).filter(
      (variant) => variant.context.path !== context.path,
    )
    this.#entries.set(key, [{ context, shapes }, ...others.slice(0, variantsMax - 1)])
  }
}
