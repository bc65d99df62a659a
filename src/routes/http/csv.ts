/** CSV as in RFC 4180, for people who open it in a spreadsheet. */

/** First characters that make a cell a formula in a spreadsheet (OWASP, CSV Injection). */
const FORMULA = /^[=+\-@\t\r]/;

/**
 * One cell. A text that would be a formula gets an apostrophe in front, so that it is shown as text. Numbers do not
 * change.
 */
function cell(value: string | number | null): string {
  if (typeof value !== 'string') {
    return String(value ?? '');
  }
  const text = FORMULA.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export const csvLine = (cells: readonly (string | number | null)[]): string => `${cells.map(cell).join(',')}\r\n`;
