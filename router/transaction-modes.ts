// The modes that BEGIN, SET TRANSACTION and the settings behind them ask for (manual, SET
// TRANSACTION).
import type { Node, VariableSetStmt } from '@pgsql/types'
import type { Isolation, TransactionModes } from './plan.ts'
import { constantText } from './syntax.ts'

const isolations: readonly Isolation[] = [
  'serializable',
  'repeatable read',
  'read committed',
  'read uncommitted',
]

/** Modes of a list of options; of several for the same thing the last one counts. */
export function readModes(options: readonly Node[] | undefined): TransactionModes {
  let modes: TransactionModes = { access: null, isolation: null, deferrable: false }
  for (const option of options ?? []) {
    if (!('DefElem' in option)) continue
    const { defname = '', arg } = option.DefElem
    const text = arg !== undefined && 'A_Const' in arg ? constantText(arg.A_Const) : null
    modes = { ...modes, ...modeOf(defname, text ?? '') }
  }
  return modes
}

/**
 * Modes of SET transaction_read_only and its like, which is SET TRANSACTION in other words;
 * undefined for any other setting.
 */
export function modesOfSetting({ name = '', args }: VariableSetStmt): TransactionModes | undefined {
  const setting = name.toLowerCase()
  if (!/^transaction_(?:isolation|read_only|deferrable)$/.test(setting)) return undefined
  const [arg] = args ?? []
  const text = arg !== undefined && 'A_Const' in arg ? constantText(arg.A_Const) : null
  const none: TransactionModes = { access: null, isolation: null, deferrable: false }
  return text === null ? none : { ...none, ...modeOf(setting, text) }
}

function modeOf(setting: string, text: string): Partial<TransactionModes> {
  switch (setting) {
    case 'transaction_read_only':
      return { access: isTrue(text) ? 'read only' : 'read write' }
    case 'transaction_isolation':
      return { isolation: isolations.find((known) => known === text.toLowerCase()) ?? null }
    case 'transaction_deferrable':
      return { deferrable: isTrue(text) }
    default:
      return {}
  }
}

/** PostgreSQL's parse_bool(): unique beginnings of the words count as well. */
export function isTrue(text: string | undefined): boolean {
  return /^(?:on|1|t|tr|tru|true|y|ye|yes)$/i.test(text ?? '')
}
