// `${NAME}` and `${NAME:-default}` in the file. Braces mean a mapping to YAML, so a reference is first
// hidden behind as many private-use characters as it is long: lines and columns stay those of the
// file. After YAML is parsed the values are put into the finished scalars, so no value, whatever it
// contains, is ever read as YAML. `$${` is a literal `${`. References in comments are not looked at.

/** One reference in the text. */
export type Reference = {
  /** Offset of its `$` in the text. */
  readonly offset: number
  readonly value: { readonly text: string } | { readonly wrong: string; readonly remedy: string }
}

/** The text with every reference hidden, and the references in order. */
export type HiddenReferences = { readonly text: string; readonly references: readonly Reference[] }

/** Hides what starts with `${` or `$${`; the result is as long as `text`. */
export function hideReferences(
  text: string,
  env: Readonly<Record<string, string | undefined>>,
): HiddenReferences {
  const references: Reference[] = []
  const hidden = text.replaceAll(/\$\$\{|\$\{[^}\n]*\}?/g, (match, offset: number) => {
    references.push({ offset, value: match === '$${' ? { text: '${' } : valueOf(match, env) })
    return `${opening}${filling.repeat(match.length - 2)}${closing}`
  })
  return { text: hidden, references }
}

/** Puts the texts of `references` back into a scalar, in order. */
export function showReferences(scalar: string, references: readonly Reference[]): string {
  const rest = [...references]
  return scalar.replaceAll(hiddenReference, () => {
    const value = rest.shift()?.value
    return value !== undefined && 'text' in value ? value.text : ''
  })
}

function valueOf(
  reference: string,
  env: Readonly<Record<string, string | undefined>>,
): Reference['value'] {
  const [, name, standard] = /^\$\{([A-Za-z_]\w*)(?::-(.*))?\}$/.exec(reference) ?? []
  if (name === undefined) {
    const remedy = 'write ${NAME} or ${NAME:-default}, or $${ for a literal "${"'
    return { wrong: `"${reference}" names no environment variable`, remedy }
  }
  const set = env[name]
  if (set !== undefined && (set !== '' || standard === undefined)) return { text: set }
  if (standard !== undefined) return { text: standard }
  const remedy = `set it, or give a default: \${${name}:-…}`
  return { wrong: `environment variable "${name}" is not set`, remedy }
}

const opening = '\uE000'
const filling = '\uE001'
const closing = '\uE002'
const hiddenReference = /\uE000\uE001*\uE002/g
