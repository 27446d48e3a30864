// What the leak checker's clients do next, at random: one statement, or one of the many forms of saying it.
import { formMakers } from './forms.ts'
import { plainMakers } from './plain-steps.ts'
import { textOf } from './command.ts'
import { inParts, type Maker, type Situation, type Step } from './step.ts'

/** A step that suits the situation. */
export function chooseStep(situation: Situation): Step {
  const { random, mode } = situation
  for (;;) {
    const makers: readonly [Maker, ...Maker[]] = random.oneIn(2) ? plainMakers : formMakers
    const step = random.pick(makers)(situation)
    if (step === null || !suits(mode, step)) continue
    return random.oneIn(4) ? inParts(step, random.below(2)) : step
  }
}

/** Transactions over several statements are refused in statement mode. */
function suits(mode: Situation['mode'], { command }: Step): boolean {
  const text = textOf(command)
  switch (mode) {
    case 'transaction':
    case 'session':
      return true
    case 'statement':
      return !/\b(?:BEGIN|CHAIN|DECLARE)\b(?! (?:PERFORM|SET))/.test(text)
  }
}
