import type { IssueCode } from '../contract/errors.ts';
import { problemOfIssues, MAX_LISTED_ISSUES, type Problem, type Issue } from './problems.ts';

/** What is wrong at one place, and where. Made only for an issue that will be listed. */
type Describe = () => Omit<Issue, 'code'>;

/**
 * The issues of a request while it is validated. A body can have half a million: those beyond `MAX_LISTED_ISSUES` are
 * counted, and neither their words nor their places are made.
 */
export class ValidationErrors {
  readonly listed: Issue[] = [];
  count = 0;
  private readonly codes = new Set<IssueCode>();

  add(code: IssueCode, describe: Describe): void {
    this.count += 1;
    this.codes.add(code);
    if (this.listed.length < MAX_LISTED_ISSUES) {
      const { pointer, detail } = describe();
      this.listed.push({ pointer, code, detail });
    }
  }

  addAll(issues: Iterable<Issue>): void {
    for (const issue of issues) {
      this.add(issue.code, () => issue);
    }
  }

  append(other: ValidationErrors): void {
    this.addAll(other.listed);
    this.count += other.count - other.listed.length;
    for (const code of other.codes) {
      this.codes.add(code);
    }
  }

  /** All of them as one problem; null where there is none. */
  problem(): Problem | null {
    const [first] = this.listed;
    return first === undefined ? null : problemOfIssues(first, this.listed, this.count, this.codes.size === 1);
  }
}
