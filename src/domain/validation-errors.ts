import type { IssueCode } from '../contract/errors.ts';
import { faultProblem, MAX_LISTED_FAULTS, type CoreProblem, type Fault } from './problems.ts';

/** What is wrong at one place, and where. Made only for a fault that will be listed. */
type Describe = () => Omit<Fault, 'code'>;

/**
 * The faults of a request while it is looked at. A body can have half a million: those beyond `MAX_LISTED_FAULTS` are
 * counted, and neither their words nor their places are made.
 */
export class FaultList {
  readonly listed: Fault[] = [];
  count = 0;
  private readonly codes = new Set<IssueCode>();

  add(code: IssueCode, describe: Describe): void {
    this.count += 1;
    this.codes.add(code);
    if (this.listed.length < MAX_LISTED_FAULTS) {
      const { pointer, detail } = describe();
      this.listed.push({ pointer, code, detail });
    }
  }

  addAll(faults: Iterable<Fault>): void {
    for (const fault of faults) {
      this.add(fault.code, () => fault);
    }
  }

  append(other: FaultList): void {
    this.addAll(other.listed);
    this.count += other.count - other.listed.length;
    for (const code of other.codes) {
      this.codes.add(code);
    }
  }

  /** All of them as one problem; null where there is none. */
  problem(): CoreProblem | null {
    const [first] = this.listed;
    return first === undefined ? null : faultProblem(first, this.listed, this.count, this.codes.size === 1);
  }
}
