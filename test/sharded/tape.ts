// Choices for a generator, read off a list of numbers that fast-check makes and shrinks. An
// exhausted tape gives zeros, and zero is always the simplest choice: a shorter tape is a simpler
// statement.
import { array, integer, type Arbitrary } from 'fast-check'

/** Numbers that a generator takes one after the other. */
export class Tape {
  readonly #numbers: readonly number[]
  #at = 0

  constructor(numbers: readonly number[]) {
    this.#numbers = numbers
  }

  /** Integer from 0 to `limit` − 1. */
  below(limit: number): number {
    const number = this.#numbers[this.#at] ?? 0
    this.#at += 1
    return number % limit
  }

  pick<T>(choices: readonly [T, ...T[]]): T {
    return choices[this.below(choices.length)] ?? choices[0]
  }

  /** True once in `times` times; false at the end of the tape. */
  oneIn(times: number): boolean {
    return this.below(times) === times - 1
  }

  /** True but once in `times` times; also at the end of the tape. */
  mostly(times: number): boolean {
    return !this.oneIn(times)
  }

  get ended(): boolean {
    return this.#at >= this.#numbers.length
  }
}

/** Tapes of up to `length` choices. */
export function tapes(length: number): Arbitrary<readonly number[]> {
  const number = integer({ min: 0, max: 9_999 })
  return array(number, { maxLength: length, size: 'max' })
}
