import type { Cut } from './json-extract.ts';
import { pointer, quote } from './problems.ts';

/**
 * Finds the first syntax error in a text. `JSON.parse` decides whether a text is JSON. This code reads a rejected text
 * again, character by character, because V8's messages give a position only for some errors.
 */

/**
 * `line` and `column` count from 1; a column is one Unicode character. `path`: the path of the value with the error.
 */
export type SyntaxIssue = { line: number; column: number; path: readonly string[]; found: string };

/**
 * Returns the first syntax error of a text; null when it is JSON. The text must not be nested too deeply for a
 * recursive parser.
 * @param cuts where the text is shorter than the body that the client sent, in order: positions refer to the body
 */
export function findSyntaxIssue(text: string, cuts: readonly Cut[] = []): SyntaxIssue | null {
  const reader = new Reader(text, cuts);
  reader.body();
  const { issue } = reader;
  return issue === null ? null : { ...placeOf(text, cuts, issue.at), path: issue.path, found: issue.found };
}

/** Describes the error: `Line 3, column 12, in #/workflow/1/inputs/seed: NaN is not JSON; write a number or null.` */
export function describeSyntaxIssue({ line, column, path, found }: SyntaxIssue): string {
  const where = path.length === 0 ? '' : `, in ${pointer(path)}`;
  return `Line ${line}, column ${column}${where}: ${found}`;
}

/** Words of JavaScript and Python for values that JSON spells differently. */
const WORDS: Readonly<Record<string, string>> = {
  NaN: 'a number or null',
  Infinity: 'a number or null',
  nan: 'a number or null',
  inf: 'a number or null',
  undefined: 'null',
  None: 'null',
  True: 'true',
  False: 'false',
};
/** The number of characters inspected at an error. `quote` cuts longer words. */
const LOOKED_AT = 100;
/** In characters: longer than any word for a JSON value in other languages, shorter than a secret. */
const LONGEST_SHOWN_WORD = 16;
const NOT_DIGIT = /[^0-9]/g;
const NOT_BLANK = /[^ \t\n\r]/g;
// oxlint-disable-next-line no-control-regex -- this pattern looks for control characters
const ENDS_PLAIN_TEXT = /["\\\0-\x1f]/g;
const UNICODE_ESCAPE = /^\\u[0-9a-fA-F]{4}$/;
const isEscaped = (char: string | undefined): boolean => char !== undefined && '"\\/bfnrt'.includes(char);
const WORD = /^[+-]?[\p{L}_$][\p{L}\p{N}_$]*/u;
const COMMENT = /^(?:\/[/*]|#)/;
const OTHER_QUOTE = /^['`‘’“”«]/;

class Reader {
  issue: { at: number; path: readonly string[]; found: string } | null = null;
  private at = 0;
  private readonly text: string;
  private readonly cuts: readonly Cut[];
  private readonly path: string[] = [];

  constructor(text: string, cuts: readonly Cut[]) {
    this.text = text;
    this.cuts = cuts;
  }

  /** Reads the whole text. Like all readers here, returns whether it succeeded, and records the error otherwise. */
  body(): boolean {
    this.skipBlanks();
    if (this.at === this.text.length) {
      return this.fail('The body is empty.');
    }
    return this.value() && (this.next() === undefined || this.unexpected('the end of the body'));
  }

  private value(): boolean {
    const char = this.next();
    switch (char) {
      case '{':
        return this.object();
      case '[':
        return this.array();
      case '"':
        return this.string();
      case undefined:
        return this.unexpected('a value');
      default:
    }
    if (/[-+.\d]/.test(char) && !WORD.test(this.ahead())) {
      return this.number();
    }
    const literal = ['true', 'false', 'null'].find((name) => WORD.exec(this.ahead())?.[0] === name);
    this.at += literal?.length ?? 0;
    return literal !== undefined || this.unexpected('a value');
  }

  private object(): boolean {
    const start = this.at;
    this.at += 1;
    for (let comma: number | null = null; ;) {
      const char = this.next();
      if (char === '}') {
        return this.end(comma);
      }
      if (char !== '"') {
        return char === undefined ? this.endsInside('object', start) : this.unexpected('a name in double quotes');
      }
      const name = this.at;
      if (!this.string()) {
        return false;
      }
      this.path.push(String(JSON.parse(this.text.slice(name, this.at))));
      if (this.next() !== ':') {
        return this.unexpected('a colon');
      }
      this.at += 1;
      if (!this.value()) {
        return false;
      }
      this.path.pop();
      comma = this.comma();
      if (comma === null && this.next() !== '}') {
        return this.next() === undefined ? this.endsInside('object', start) : this.unexpected('a comma or "}"');
      }
    }
  }

  private array(): boolean {
    const start = this.at;
    this.at += 1;
    for (let index = 0, comma: number | null = null; ; index += 1) {
      const char = this.next();
      if (char === ']') {
        return this.end(comma);
      }
      if (char === undefined) {
        return this.endsInside('list', start);
      }
      this.path.push(String(index));
      if (!this.value()) {
        return false;
      }
      this.path.pop();
      comma = this.comma();
      if (comma === null && this.next() !== ']') {
        return this.next() === undefined ? this.endsInside('list', start) : this.unexpected('a comma or "]"');
      }
    }
  }

  /** Reads the bracket that ends an object or a list. `comma`: the position of a comma directly before it. */
  private end(comma: number | null): boolean {
    if (comma !== null) {
      return this.fail(`A comma before ${quote(this.text[this.at] ?? '')} is not JSON; remove it.`, comma);
    }
    this.at += 1;
    return true;
  }

  private string(): boolean {
    const start = this.at;
    for (let at = start + 1; ;) {
      ENDS_PLAIN_TEXT.lastIndex = at;
      if (!ENDS_PLAIN_TEXT.test(this.text)) {
        return this.fail('The text that begins here does not end.', start);
      }
      const end = ENDS_PLAIN_TEXT.lastIndex - 1;
      const char = this.text[end];
      if (char === '"') {
        this.at = end + 1;
        return true;
      }
      if (char !== '\\') {
        const isBreak = char === '\n' || char === '\r';
        const what = isBreak ? 'A line break' : `The control character ${JSON.stringify(char)}`;
        return this.fail(`${what} inside a text is not JSON; escape it.`, end);
      }
      const escaped = this.text[end + 1];
      if (escaped === 'u' ? !UNICODE_ESCAPE.test(this.text.slice(end, end + 6)) : !isEscaped(escaped)) {
        const what = quote(this.text.slice(end, end + 2));
        return this.fail(`${what} is not an escape in JSON; write a backslash as "\\\\".`, end);
      }
      at = end + (escaped === 'u' ? 6 : 2);
    }
  }

  private number(): boolean {
    const start = this.at;
    let end = start + (this.text[start] === '-' ? 1 : 0);
    let valid = this.text[end] === '0' ? (end += 1) > 0 : end < (end = this.afterDigits(end));
    if (valid && this.text[end] === '.') {
      valid = end + 1 < (end = this.afterDigits(end + 1));
    }
    if (valid && /[eE]/.test(this.text[end] ?? '')) {
      const digits = end + (/[+-]/.test(this.text[end + 1] ?? '') ? 2 : 1);
      valid = digits < (end = this.afterDigits(digits));
    }
    if (!valid || /[\w.+-]/.test(this.text[end] ?? '')) {
      const token = /^[\w.+-]*/.exec(this.ahead())?.[0] ?? '';
      const what = token.length <= LONGEST_SHOWN_WORD ? quote(token) : 'This';
      return this.fail(`${what} is not a number in JSON.`);
    }
    this.at = end;
    return true;
  }

  private afterDigits(from: number): number {
    NOT_DIGIT.lastIndex = from;
    return NOT_DIGIT.exec(this.text)?.index ?? this.text.length;
  }

  /** Reads a comma; null when there is none. */
  private comma(): number | null {
    if (this.next() !== ',') {
      return null;
    }
    this.at += 1;
    return this.at - 1;
  }

  /** The next character that is not blank. */
  private next(): string | undefined {
    this.skipBlanks();
    return this.text[this.at];
  }

  private skipBlanks(): void {
    NOT_BLANK.lastIndex = this.at;
    this.at = NOT_BLANK.exec(this.text)?.index ?? this.text.length;
  }

  private ahead(): string {
    return this.text.slice(this.at, this.at + LOOKED_AT);
  }

  private fail(found: string, at: number = this.at): false {
    this.issue = { at, path: [...this.path], found };
    return false;
  }

  private endsInside(what: string, start: number): false {
    const { line, column } = placeOf(this.text, this.cuts, start);
    return this.fail(`The body ends inside the ${what} that begins at line ${line}, column ${column}.`);
  }

  private unexpected(expected: string): false {
    const ahead = this.ahead();
    const word = WORD.exec(ahead)?.[0];
    if (ahead === '') {
      return this.fail(`The body ends where ${expected} is expected.`);
    }
    if (COMMENT.test(ahead)) {
      return this.fail('A comment is not JSON; remove it.');
    }
    if (OTHER_QUOTE.test(ahead)) {
      return this.fail(`${quote(ahead.slice(0, 1))} is not a quote in JSON; write texts and names in double quotes.`);
    }
    if (word === undefined || /^the end|comma|colon/.test(expected)) {
      const what =
        word === undefined ? quote(String.fromCodePoint(ahead.codePointAt(0) ?? 0).toWellFormed()) : nameOf(word);
      return this.fail(`${what} stands where ${expected} is expected.`);
    }
    const write = WORDS[word.replace(/^[+-]/, '')];
    return expected === 'a value' && write !== undefined
      ? this.fail(`${word} is not JSON; write ${write}.`)
      : this.fail(`${nameOf(word)} is not JSON; write texts and names in double quotes.`);
  }
}

/**
 * Returns a word of the body for an error message. A long word, or one with digits, may be a key or a token without its
 * quotes, and is not repeated.
 */
function nameOf(word: string): string {
  return word.length <= LONGEST_SHOWN_WORD && !/[\d_]/.test(word) ? quote(word) : 'A word without quotes';
}

function placeOf(text: string, cuts: readonly Cut[], at: number): { line: number; column: number } {
  let line = 1;
  let column = 1;
  let passed = 0;
  for (let index = 0; index <= at; index += 1) {
    for (; cuts[passed]?.at === index; passed += 1) {
      column += cuts[passed]?.missing ?? 0;
    }
    if (index === at) {
      break;
    }
    const code = text.charCodeAt(index);
    if (code === 0x0a || (code === 0x0d && text.charCodeAt(index + 1) !== 0x0a)) {
      line += 1;
      column = 1;
    } else if (code < 0xdc00 || code > 0xdfff) {
      // The second half of a surrogate pair belongs to the character before it.
      column += 1;
    }
  }
  return { line, column };
}
