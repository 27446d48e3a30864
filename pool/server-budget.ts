// A limit of server connections over several pools: those of one database, or of one user. A pool takes a place for
// every connection from dialling to its end. Who finds no place waits its turn; idle connections of other pools
// are closed for it at once, and a pool that has more connections gives one up at the end of a statement.
import type { Clock } from '../core/clock.ts'

/** A pool, as a budget sees it. */
export interface BudgetMember {
  /** Places that it has taken, connections being opened counted. */
  readonly places: number
  /** False once nobody waits there any more. */
  readonly wantsPlace: boolean
  /** Closes the connection that has been idle longest, if one may go. False when none may. */
  giveUpIdle(): boolean
  /** A place may be free now. */
  placeFree(): void
}

// A busy pool gives a connection up for one that waits, not for every statement in turn: a login costs both.
const yieldAfterMs = 100

export class ServerBudget {
  readonly placesMax: number
  readonly #clock: Clock
  readonly #members = new Set<BudgetMember>()
  /** Who waits for a place, and since when. */
  readonly #wanting = new Map<BudgetMember, number>()
  #taken = 0
  #offering = false

  constructor(placesMax: number, clock: Clock) {
    this.placesMax = placesMax
    this.#clock = clock
  }

  get taken(): number {
    return this.#taken
  }

  get isFull(): boolean {
    return this.#taken >= this.placesMax
  }

  join(member: BudgetMember): void {
    this.#members.add(member)
  }

  leave(member: BudgetMember): void {
    this.#members.delete(member)
    this.#wanting.delete(member)
  }

  /** Takes a place that is known to be free. */
  take(member: BudgetMember): void {
    this.#taken += 1
    this.#wanting.delete(member)
  }

  give(): void {
    this.#taken -= 1
    this.offer()
  }

  /** Full: `member` is told once there may be a place; idle connections of others make room at once. */
  makeRoom(member: BudgetMember): void {
    if (!this.#wanting.has(member)) this.#wanting.set(member, this.#clock.nowMs())
    this.#offering = true
    for (const other of this.#members) {
      if (other !== member && other.giveUpIdle()) break
    }
    this.#offering = false
  }

  /**
   * True when `member` should give up a connection that is free now, though somebody may wait for it there: another pool
   * waits, and has fewer.
   */
  mustYield(member: BudgetMember): boolean {
    if (this.#wanting.size === 0) return false
    if (!member.wantsPlace) return this.#isWanted(member)
    const dueMs = this.#clock.nowMs() - yieldAfterMs
    for (const [other, sinceMs] of this.#wanting) {
      if (other === member || sinceMs > dueMs || other.places >= member.places) continue
      if (other.wantsPlace) return true
    }
    return false
  }

  #isWanted(member: BudgetMember): boolean {
    for (const other of this.#wanting.keys()) if (other !== member && other.wantsPlace) return true
    return false
  }

  /** Tells whoever has waited longest first; who takes no place leaves it to the next. */
  offer(): void {
    if (this.#offering) return
    this.#offering = true
    for (const member of Array.from(this.#wanting.keys())) {
      if (this.isFull) break
      this.#wanting.delete(member)
      member.placeFree()
    }
    this.#offering = false
  }
}

/** Takes a place in all of `budgets`, or in none; then `member` waits for one. */
export function takePlaces(budgets: readonly ServerBudget[], member: BudgetMember): boolean {
  for (const budget of budgets) if (budget.isFull) budget.makeRoom(member)
  if (budgets.some((budget) => budget.isFull)) {
    // Room that was made where it did not help is others'.
    for (const budget of budgets) budget.offer()
    return false
  }
  for (const budget of budgets) budget.take(member)
  return true
}
