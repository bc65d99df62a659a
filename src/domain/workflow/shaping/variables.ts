import { jsonText } from '../../json.ts';
import { pointer } from '../../problems.ts';
import type { WorkingCopy } from './working-copy.ts';
import { changeTexts } from './texts.ts';

/** A value for a `{{ placeholder }}`. */
export type Variable = string | number | bigint | boolean;
export type Variables = Readonly<Record<string, Variable>>;

/** Valid names of variables. The caller checks them first. */
export const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_.-]{0,63}$/;
const PLACEHOLDER = /\{\{\s{0,16}([A-Za-z_][A-Za-z0-9_.-]{0,63})\s{0,16}\}\}/g;
/** A text that is exactly one placeholder. */
const WHOLE = new RegExp(`^${PLACEHOLDER.source}$`);

/**
 * Replaces `{{ name }}` in the inputs' texts by variables. A text that is exactly one placeholder becomes the value
 * with its type; inside other text the value is written as text. Placeholders inside values are not replaced. A
 * placeholder without a variable and a variable without a placeholder are issues. So is a result of more than
 * `maxChars` characters in total: otherwise a small body could use any amount of memory.
 */
export function substitute(copy: WorkingCopy, variables: Variables, maxChars: number): void {
  const used = new Set<string>();
  let room = maxChars;

  const valueOf = (name: string, at: readonly string[]): Variable | undefined => {
    if (!Object.hasOwn(variables, name)) {
      copy.issues.add('variable_missing', () => ({
        pointer: copy.pointerOf(...at),
        detail: `No variable is given for {{ ${name} }}.`,
      }));
      return undefined;
    }
    used.add(name);
    return variables[name];
  };

  const inText = (text: string, at: readonly string[]): unknown => {
    const whole = WHOLE.exec(text.trim())?.[1];
    if (whole !== undefined) {
      const value = valueOf(whole, at);
      room -= typeof value === 'string' ? value.length : 0;
      return room < 0 ? text : (value ?? text);
    }
    return text.replaceAll(PLACEHOLDER, (found, name: string) => {
      const value = valueOf(name, at);
      const written = value === undefined ? found : typeof value === 'string' ? value : jsonText(value);
      room -= written.length;
      return room < 0 ? '' : written;
    });
  };

  changeTexts(copy, (text, at) => (text.includes('{{') ? inText(text, at) : text));
  if (room < 0) {
    copy.issues.add('workflow_too_large', () => ({
      pointer: '#/variables',
      detail: `The workflow with its variables is larger than the maximum of ${maxChars} bytes.`,
    }));
  }
  for (const name of Object.keys(variables)) {
    if (!used.has(name)) {
      copy.issues.add('variable_unused', () => ({
        pointer: pointer(['variables', name]),
        detail: `No input contains {{ ${name} }}.`,
      }));
    }
  }
}
