// The YAML file: its text parsed with positions kept, environment put in, values as plain data.
// Merge keys (`<<`) and aliases work; a name given twice is a problem.
import {
  isAlias,
  isCollection,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  visit,
  type Document,
  type Node,
  type Pair,
  type Scalar,
} from 'yaml'
import { hideReferences, showReferences, type Reference } from './environment.ts'
import type { Complaint } from './problems.ts'
import type { Path } from './setting.ts'

/** Line and column, both from 1. */
export type Position = { readonly line: number; readonly column: number }

/** The parsed file. */
export type ConfigDocument = {
  /** Plain data; undefined when the text is not YAML and nothing of it can be trusted. */
  readonly value: unknown
  readonly problems: readonly Placed[]
  /** Where the value at `path` stands; else of the nearest part of `path` that is in the file. */
  readonly positionOf: (path: Path, at?: Complaint['at']) => Position
}

/** A complaint with its place in the text. */
export type Placed = Complaint & Position

/** Parses `text`; never throws. */
export function parseConfig(
  text: string,
  env: Readonly<Record<string, string | undefined>>,
): ConfigDocument {
  const hidden = hideReferences(text, env)
  const lines = new LineCounter()
  const doc = parseDocument(hidden.text, {
    merge: true,
    lineCounter: lines,
    prettyErrors: false,
    logLevel: 'error',
  })
  const positionAt = (offset: number): Position => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
  const problems: Placed[] = [...doc.errors, ...doc.warnings].map((error) => ({
    ...positionAt(error.pos[0]),
    path: [],
    ...wording(error.code, error.message),
  }))
  visit(doc, {
    Scalar(_key, node, ancestors) {
      const inside = referencesIn(node, hidden.references)
      if (inside.length === 0) return
      if (typeof node.value === 'string') node.value = showReferences(node.value, inside)
      for (const { offset, value } of inside) {
        if (!('wrong' in value)) continue
        const path = pathOf([...ancestors, node])
        problems.push({ ...positionAt(offset), path, message: value.wrong, remedy: value.remedy })
      }
    },
  })
  const usable = doc.errors.every(({ code }) => code === 'DUPLICATE_KEY')
  const plain = usable ? plainValue(doc) : { value: undefined, problem: null }
  if (plain.problem !== null) problems.push({ ...positionAt(0), path: [], ...plain.problem })
  return {
    value: plain.value,
    problems,
    positionOf: (path, at = 'value') => positionAt(offsetOf(doc, path, at)),
  }
}

function wording(code: string, message: string): Pick<Complaint, 'message' | 'remedy'> {
  if (code === 'DUPLICATE_KEY') {
    return { message: 'this name is given twice in one mapping', remedy: 'keep one of them' }
  }
  const text = message.replace(/\.$/, '')
  return {
    message: `not valid YAML: ${text.charAt(0).toLowerCase()}${text.slice(1)}`,
    remedy: null,
  }
}

function referencesIn(node: Scalar, references: readonly Reference[]): readonly Reference[] {
  const [start, end] = node.range ?? [0, 0]
  return references.filter(({ offset }) => offset >= start && offset < end)
}

/** An alias without its anchor and a bomb of nested aliases show only here, as exceptions. */
function plainValue(doc: Document): {
  readonly value: unknown
  readonly problem: Pick<Complaint, 'message' | 'remedy'> | null
} {
  try {
    return { value: doc.toJS({ maxAliasCount: 100 }), problem: null }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return { value: undefined, problem: wording('', message) }
  }
}

/** Path of the last of `nodes`, each of which holds the next. */
function pathOf(nodes: readonly unknown[]): Path {
  return nodes.flatMap((node, index): (string | number)[] => {
    if (isPair<Node, Node | null>(node)) return [keyText(node) ?? '']
    return isSeq(node) ? [node.items.indexOf(nodes[index + 1])] : []
  })
}

function offsetOf(doc: Document, path: Path, at: 'name' | 'value'): number {
  const { node, key } = walk(doc, path)
  const keyOffset = key?.range?.[0]
  const isBlank = isScalar(node) && node.value === null
  if (keyOffset !== undefined && (at === 'name' || isCollection(node) || isBlank)) return keyOffset
  return node?.range?.[0] ?? keyOffset ?? 0
}

type Place = { readonly node: Node | null; readonly key: Node | null }

/** Follows `path` as far as the file has it: the last value found, and the key it stands under. */
function walk(doc: Document, path: Path): Place {
  let place: Place = { node: doc.contents, key: null }
  for (const segment of path) {
    const next = child(doc, place.node, segment)
    if (next === undefined) break
    place = next
  }
  return place
}

function child(doc: Document, parent: Node | null, segment: string | number): Place | undefined {
  const node = isAlias(parent) ? (parent.resolve(doc) ?? null) : parent
  if (isSeq<Node>(node)) {
    const item = typeof segment === 'number' ? node.items[segment] : undefined
    return item === undefined ? undefined : { node: item, key: null }
  }
  if (!isMap<Node, Node | null>(node)) return undefined
  const pair = node.items.findLast((item) => keyText(item) === String(segment))
  if (pair !== undefined) return { node: pair.value, key: pair.key }
  return node.items
    .filter((item) => keyText(item) === '<<')
    .flatMap(({ value }) => (isSeq<Node>(value) ? value.items : [value]))
    .map((merged) => child(doc, merged, segment))
    .find((place) => place !== undefined)
}

function keyText(pair: Pair<Node, Node | null>): string | null {
  return isScalar(pair.key) ? String(pair.key.value) : null
}
