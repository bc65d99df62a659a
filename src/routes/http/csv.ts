/** CSV as in RFC 4180, for people who open it in a spreadsheet. */

/** What a spreadsheet takes for a formula when a cell begins with it (OWASP, CSV Injection). */
const FORMULA = /^[=+\-@\t\r]/;

/** One cell. A text that a spreadsheet would run begins with an apostrophe, which it shows as text; a number stays a number. */
function cell(value: string | number | null): string {
  if (typeof value !== 'string') {
    return String(value ?? '');
  }
  const text = FORMULA.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export const csvLine = (cells: readonly (string | number | null)[]): string => `${cells.map(cell).join(',')}\r\n`;
